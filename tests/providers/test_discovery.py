"""A provider's own list of models, in whatever shape it comes."""

import msgspec
import pytest

from posthouse.providers.discovery import MAX_MODELS, models_of


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b'{"object":"list","data":[{"id":"b","object":"model"},{"id":"a"}]}', ["b", "a"]),
        (b'[{"id":"a","type":"chat"},{"id":"b"}]', ["a", "b"]),
        (b'["a","b"]', ["a", "b"]),
        (b'{"models":[{"name":"llama3:8b","model":"llama3:8b"},{"model":"x"}]}', ["llama3:8b", "x"]),
        (b'{"data":[{"id":"a"},{"id":"a"},{"id":"b c"},{"id":""},{"id":7},{"no":1},null]}', ["a"]),
        (b'{"data":[{"id":"evil\\r\\nname"},{"id":"good"}]}', ["good"]),
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
