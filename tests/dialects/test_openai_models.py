"""Lists of models, ours and those of upstreams."""

import json
from typing import Any

import pytest

from posthouse.dialects.errors import DialectError
from posthouse.dialects.openai_models import ModelCard, decode_models, encode_model, encode_models

_CARD = {"id": "m", "object": "model", "created": 7, "owned_by": "main"}


@pytest.mark.req("MODELS-001")
def test_a_model_and_a_list_have_the_api_s_shape() -> None:
    assert json.loads(encode_model(ModelCard("m", 7, "main"))) == _CARD
    assert json.loads(encode_models([ModelCard("m", 7, "main")])) == {"object": "list", "data": [_CARD]}
    assert json.loads(encode_models([])) == {"object": "list", "data": []}


@pytest.mark.req("MODELS-002")
@pytest.mark.parametrize(
    "body",
    [
        {"object": "list", "data": [_CARD, _CARD]},
        {"data": [{"id": "m", "created": "7", "owned_by": None}, {"object": "model"}, 5, None, {"id": 3}]},
        [_CARD],
        {"models": [{"name": "m"}]},
        {"data": None, "models": [{"model": "m"}]},
        {"data": ["m", "a\x00b"]},
    ],
)
def test_lists_of_every_shape_are_read(body: Any) -> None:
    assert [card.id for card in decode_models(json.dumps(body).encode())] == ["m"]


def test_what_is_known_of_a_model_is_kept() -> None:
    assert decode_models(json.dumps([_CARD]).encode()) == [ModelCard("m", 7, "main")]


@pytest.mark.parametrize("body", [b"", b"{}", b"5", b'{"data":{}}', b"<html>"])
def test_what_is_no_list_is_an_error_of_the_dialect(body: bytes) -> None:
    with pytest.raises(DialectError):
        decode_models(body)
