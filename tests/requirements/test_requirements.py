"""The table of requirements and the tests hold each other: no row without a test, no test that names no row."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_TABLES = sorted(Path(__file__).parent.glob("*.toml"))
_TESTS = Path(__file__).parent.parent
PLACES = ("accounts", "api", "chaos", "dialect", "e2e", "gateway", "limits", "storage")


def _rows() -> list[dict[str, Any]]:
    return [row for table in _TABLES for row in tomllib.loads(table.read_text("utf-8"))["row"]]


def _names(tree: ast.AST) -> Iterator[str]:
    """Ids in every `pytest.mark.req(...)` of a module."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr="req", value=ast.Attribute(attr="mark")), args=args):
                for argument in args:
                    assert isinstance(argument, ast.Constant), "a requirement is named by a literal"
                    assert isinstance(argument.value, str)
                    yield argument.value


def _named() -> dict[str, Path]:
    return {
        name: path
        for path in sorted(_TESTS.rglob("test_*.py"))
        for name in _names(ast.parse(path.read_text("utf-8"), str(path)))
    }


def test_every_row_says_what_is_required_and_on_whose_word() -> None:
    for row in _rows():
        assert row.keys() == {"id", "requirement", "source", "where"}, row
        assert row["where"] in PLACES, row
        assert row["source"].startswith("["), row


def test_no_id_is_used_twice() -> None:
    ids = [row["id"] for row in _rows()]
    assert len(ids) == len(set(ids))


def test_every_id_that_a_test_names_has_a_row() -> None:
    unknown = {name: str(path) for name, path in _named().items()}.keys() - {row["id"] for row in _rows()}
    assert not unknown


@pytest.mark.parametrize("where", PLACES)
def test_every_row_is_named_by_a_test(where: str) -> None:
    named = _named()
    assert [row["id"] for row in _rows() if row["where"] == where and row["id"] not in named] == []
