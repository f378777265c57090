"""A provider's own list of models, in whatever shape it comes."""

import msgspec
import pytest

from posthouse.providers.discovery import MAX_MODELS, models_of, next_page


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b'{"object":"list","data":[{"id":"b","object":"model"},{"id":"a"}]}', ["b", "a"]),
        (b'[{"id":"a","type":"chat"},{"id":"b"}]', ["a", "b"]),
        (b'["a","b"]', ["a", "b"]),
        (b'{"models":[{"name":"llama3:8b","model":"llama3:8b"},{"model":"x"}]}', ["llama3:8b", "x"]),
        (b'{"data":[{"id":"a"},{"id":"a"},{"id":"b c"},{"id":""},{"id":7},{"no":1},null]}', ["a"]),
        (b'{"data":[{"id":"evil\\r\\nname"},{"id":"good"}]}', ["good"]),
        (
            b'{"models":[{"name":"models/gemini-2.5-pro","supportedGenerationMethods":["generateContent"]},'
            b'{"name":"models/embedder","supportedGenerationMethods":["embedContent"]},'
            b'{"name":"models/aqa","supportedGenerationMethods":["generateAnswer"]}],"nextPageToken":"t"}',
            ["gemini-2.5-pro", "embedder"],
        ),
        (b'{"data":[{"type":"model","id":"claude-sonnet-5"}],"has_more":false,"last_id":"x"}', ["claude-sonnet-5"]),
        (b'{"object":"list","data":null}', []),
        (b"{}", []),
        (b"null", []),
        (b"<html>", []),
        (b"\xff", []),
        (b"", []),
    ],
)
def test_names_are_read_in_their_order_and_what_is_no_name_is_left_out(body: bytes, names: list[str]) -> None:
    assert models_of(body) == names


def test_a_list_without_end_is_bounded() -> None:
    body = msgspec.json.encode([f"m{number}" for number in range(MAX_MODELS + 10)])
    assert len(models_of(body)) == MAX_MODELS


def test_nesting_without_end_is_no_list() -> None:
    assert models_of(b"[" * 100_000) == []


@pytest.mark.parametrize(
    ("body", "query"),
    [
        (b'{"models":[],"nextPageToken":"a/b="}', "pageToken=a%2Fb%3D"),
        (b'{"data":[],"has_more":true,"last_id":"claude 5"}', "after_id=claude%205"),
        (b'{"data":[],"has_more":false,"last_id":"claude"}', None),
        (b'{"data":[],"has_more":true,"last_id":null}', None),
        (b'{"object":"list","data":[{"id":"a"}]}', None),
        (b"[1]", None),
        (b"<html>", None),
    ],
)
def test_a_list_says_what_follows(body: bytes, query: str | None) -> None:
    assert next_page(body) == query
