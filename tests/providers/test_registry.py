"""Which types there are, and what a plugin may do."""

import datetime
from collections.abc import Callable

import pytest
from msgspec import Struct

from posthouse.core.errors import ConfigError
from posthouse.providers.model import Provider
from posthouse.providers.registry import BUILTIN, load


class Point(Struct):
    """An entry point that was never installed."""

    name: str
    brings: Callable[[], object]
    value: str = "example_package:ROW"

    def load(self) -> object:
        return self.brings()


def row(name: str, aliases: tuple[str, ...] = ()) -> Provider:
    return Provider(name=name, title=name, docs="https://example.com", checked="2026-11-21", aliases=aliases)


def test_every_builtin_has_a_name_and_aliases_of_its_own() -> None:
    words = [word for row in BUILTIN for word in (row.name, *row.aliases)]
    assert len(words) == len(set(words))


@pytest.mark.parametrize("row", BUILTIN, ids=lambda row: row.name)
def test_every_builtin_row_says_what_a_reader_needs(row: Provider) -> None:
    assert row.title
    assert row.docs.startswith("https://") or row.docs == "docs/providers.md"
    assert datetime.date.fromisoformat(row.checked) >= datetime.date(2026, 11, 21)
    assert row.base_url is None or not row.base_url.endswith("/")
    assert row.auth == "none" or row.env, "a vendor with a credential names a variable for it"
    assert all(variable.isupper() for variable in row.env)
    assert all(code == code.lower() for code in row.codes)
    assert (row.repair is None) == (row.repair_marker == b"")


def test_variables_belong_to_one_row_each() -> None:
    variables = [variable for row in BUILTIN for variable in (*row.env, row.base_url_env) if variable]
    assert len(variables) == len(set(variables))


def test_a_type_is_found_by_its_name_and_its_alias() -> None:
    registry = load([])
    assert registry.get("qwen") is registry.get("dashscope")


def test_an_unknown_type_is_an_error_that_names_the_near_ones() -> None:
    with pytest.raises(ConfigError, match=r"no provider type 'opnai'.*'openai'"):
        load([]).get("opnai")


def test_a_plugin_may_bring_one_row_or_several() -> None:
    registry = load([Point("a", lambda: row("one")), Point("b", lambda: [row("two", ("zwei",)), row("three")])])
    assert [registry.get(name).name for name in ("one", "two", "zwei", "three")] == ["one", "two", "two", "three"]
    assert [found.name for found in registry.rows[-3:]] == ["one", "two", "three"]
    assert registry.problems == ()


def broken() -> object:
    raise ImportError("no module named 'gone'")


@pytest.mark.parametrize(
    ("brings", "says"),
    [
        (broken, "cannot be loaded"),
        (lambda: 7, "names no posthouse.providers.model.Provider"),
        (list, "names no posthouse.providers.model.Provider"),
        (lambda: row("openai"), "'openai' is taken"),
        (lambda: row("other", ("echo",)), "'echo' is taken"),
    ],
)
def test_a_broken_plugin_is_reported_and_the_house_opens(brings: Callable[[], object], says: str) -> None:
    registry = load([Point("bad", brings), Point("good", lambda: row("good"))])
    assert registry.get("good").name == "good"
    assert len(registry.problems) == 1
    assert says in registry.problems[0]
    assert "'bad' (example_package:ROW)" in registry.problems[0]


def test_what_is_installed_is_looked_at_by_itself() -> None:
    assert load().rows[: len(BUILTIN)] == BUILTIN
