"""What the spine reads of a judgement and of ranks."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.requests import ModelRequest
from posthouse.core.usage import Usage
from posthouse.dialects.errors import DialectError
from posthouse.dialects.openai_media_heads import decode_rerank
from posthouse.dialects.openai_media_ranks import read_moderation, read_ranks

RANKS = [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}]


def asked() -> ModelRequest:
    return decode_rerank(b'{"model":"m","query":"q","documents":["a","b"]}')


@pytest.mark.req("MEDIA-010")
@pytest.mark.parametrize(
    ("answer", "usage"),
    [
        ({"results": RANKS, "meta": {"billed_units": {"search_units": 1}}}, Usage(searches=1)),
        ({"results": RANKS, "meta": {"billed_units": {"search_units": 2.0}}}, Usage(searches=2)),
        ({"results": RANKS, "usage": {"total_tokens": 72}}, Usage(input=72)),
        ({"results": RANKS, "usage": {"prompt_tokens": 72, "total_tokens": 72}}, Usage(input=72)),
        (
            {"results": RANKS, "usage": {"prompt_tokens": 50, "completion_tokens": 22, "total_tokens": 72}},
            Usage(input=72),
        ),
        ({"object": "list", "data": RANKS, "usage": {"total_tokens": 26}}, Usage(input=26)),
        ({"results": RANKS, "tokens": {"input_tokens": 30, "output_tokens": 4}}, Usage(input=34)),
        (
            {"results": RANKS, "meta": {"tokens": {"input_tokens": 30.0}, "billed_units": {"search_units": 1}}},
            Usage(input=30, searches=1),
        ),
        (
            {"results": RANKS, "usage": {"total_tokens": 7}, "meta": {"billed_units": {"search_units": 3}}},
            Usage(input=7, searches=3),
        ),
        ({"results": RANKS, "usage": {"total_tokens": 0}}, Usage()),
        ({"results": RANKS}, None),
        ({"results": RANKS, "usage": {"total_tokens": -1}}, None),
        ({"results": RANKS, "usage": {"total_tokens": 1e300}}, None),
        ({"results": RANKS, "usage": {"total_tokens": 7.5}}, None),
        ({"results": RANKS, "usage": {"total_tokens": 100_000_001}}, None),
        ({"results": RANKS, "usage": {"total_tokens": 7}, "meta": {"billed_units": {"search_units": 10**6}}}, Usage(7)),
        ({"results": RANKS, "usage": {"total_tokens": 7}, "meta": {"billed_units": {"search_units": 0.5}}}, Usage(7)),
        ({"results": RANKS, "usage": "many", "meta": 7, "tokens": []}, None),
        ({"results": []}, None),
    ],
)
def test_usage_of_ranks_is_read_wherever_it_stands(answer: dict[str, Any], usage: Usage | None) -> None:
    read = read_ranks(json.dumps(answer).encode(), asked())
    assert (read.usage, read.finish_reason, read.error) == (usage, "stop", None)


@pytest.mark.req("MEDIA-010")
def test_a_bare_array_of_ranks_has_no_usage() -> None:
    read = read_ranks(b' [{"score":0.9,"document":"a","index":0}]', asked())
    assert (read.usage, read.finish_reason) == (None, "stop")
    assert read_ranks(b"[]", asked()).finish_reason is None


def test_an_answer_without_ranks_holds_nothing() -> None:
    assert read_ranks(b'{"id":"x"}', asked()).finish_reason is None
    failed = read_ranks(b'{"error":{"message":"No."}}', asked())
    assert failed.error is not None and failed.error.message == "No."


@pytest.mark.parametrize(
    ("answer", "usage"),
    [
        ({"id": "modr-1", "model": "m", "results": [{}]}, None),
        ({"id": "modr-1", "results": [{}], "usage": {"prompt_tokens": 5, "total_tokens": 5}}, Usage(input=5)),
        ({"id": 7, "results": [{}], "usage": {"prompt_tokens": "x"}}, None),
    ],
)
def test_usage_of_a_judgement_is_read_where_there_is_one(answer: dict[str, Any], usage: Usage | None) -> None:
    read = read_moderation(json.dumps(answer).encode(), asked())
    assert (read.usage, read.finish_reason) == (usage, "stop")
    assert read.id == (answer["id"] if isinstance(answer["id"], str) else None)


def test_a_judgement_without_results_holds_nothing() -> None:
    assert read_moderation(b'{"id":"x","results":[]}', asked()).finish_reason is None
    assert read_moderation(b'{"error":"No."}', asked()).error is not None


@given(st.binary(max_size=60) | st.text(alphabet='{}[]":,aresultsdm 0123.e-', max_size=60).map(str.encode))
def test_whatever_comes_is_read_or_makes_no_sense(body: bytes) -> None:
    for read in (read_ranks, read_moderation):
        try:
            read(body, asked())
        except DialectError:
            pass


@pytest.mark.parametrize("body", [b"", b'"x"', b"{", b'{"results":7}', b"[1]", b"\xff", b"[" * 100_000])
def test_what_is_no_answer_makes_no_sense(body: bytes) -> None:
    with pytest.raises(DialectError):
        read_ranks(body, asked())
