"""docs/configuration.md and posthouse.example.toml tell of every setting, and tell the truth."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from posthouse.settings import Folders, Loaded, load
from posthouse.settings.layers import SECTIONS, TABLES, keys_of_sections, variable_of

ROOT: Final = Path(__file__).parents[2]
ENVIRON: Final = {"OPENAI_API_KEY": "upstream-credential-1", "DATABASE_URL": "postgresql://127.0.0.1/posthouse"}
# Defaults that the machine or other settings decide, in words.
TOLD: Final = {
    "storage.data": "your data folder",
    "server.cors_origins": '["*"]',
    "server.trusted_proxies": "[]",
    "limits.models": "[]",
    "topup.amounts": "[]",
    "topup.currencies": "[]",
}


def tables_of(text: str) -> dict[str, list[list[str]]]:
    """`{heading: rows of cells}` of every table under a `## [heading]`, the heads left out."""
    found: dict[str, list[list[str]]] = {}
    for part in text.split("\n## ")[1:]:
        heading = part.partition("\n")[0].strip("[]")
        rows = [line.strip("|").split("|") for line in part.splitlines() if line.startswith("| `")]
        found[heading] = [[cell.strip() for cell in row] for row in rows]
    return found


DOCUMENTED: Final = tables_of((ROOT / "docs" / "configuration.md").read_text())


def default_in_words(section: str, key: str) -> str:
    (field,) = [field for field in msgspec.structs.fields(SECTIONS[section]) if field.name == key]
    name = f"{section}.{key}"
    if name in TOLD:
        return f"`{TOLD[name]}`" if name != "storage.data" else TOLD[name]
    value = field.default
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{int(value) if isinstance(value, float) and value.is_integer() else value}`"


@pytest.mark.parametrize("section", SECTIONS)
def test_every_setting_of_a_section_is_documented_with_its_default_and_its_variable(section: str) -> None:
    documented = {row[0]: (row[2], row[3]) for row in DOCUMENTED[section]}
    assert documented == {
        f"`{section}.{key}`": (default_in_words(section, str(key)), f"`{variable_of((section, key))}`")
        for name, key in keys_of_sections()
        if name == section
    }


@pytest.mark.parametrize("table", TABLES)
def test_every_key_of_a_table_is_documented_and_says_whether_it_is_required(table: str) -> None:
    documented = {row[0].strip("`"): row[2] for row in DOCUMENTED[table]}
    fields = msgspec.structs.fields(TABLES[table])
    assert set(documented) == {field.name for field in fields}
    for field in fields:
        # These may be left out for some kinds of price, which the text above their table says.
        required = field.required or (table == "prices" and field.name in ("input", "currency"))
        assert (documented[field.name] == "required") == required, field.name


def test_no_heading_of_the_document_names_a_section_that_is_not() -> None:
    assert {*SECTIONS, *TABLES} == {heading for heading in DOCUMENTED if re.fullmatch(r"[a-z]+", heading)}


def example(folder: Path, text: str) -> Loaded:
    (folder / "posthouse.toml").write_text(text)
    (folder / "admin.key").write_text("admin-key-for-tests-0123456789abcdef\n")
    (folder / "azure.key").write_text("upstream-credential-2\n")
    (folder / "topup.key").write_text("a-secret-of-the-tests-1\n")
    (folder / "stripe.key").write_text("a-secret-of-the-tests-2\n")
    (folder / "azure-2.key").write_text("upstream-credential-3\n")
    return load({}, ENVIRON, folder, Folders(folder / "c", folder / "d"))


EXAMPLE: Final = (ROOT / "posthouse.example.toml").read_text()
SWITCHED_ON: Final = re.sub(r"^#(?=[a-z\[])", "", EXAMPLE, flags=re.MULTILINE)


def test_the_example_as_it_comes_changes_nothing(tmp_path: Path) -> None:
    loaded = example(tmp_path, EXAMPLE)
    assert {item.source.layer for item in loaded.explain()} == {"default"}


def test_the_example_switched_on_is_sound(tmp_path: Path) -> None:
    problems = example(tmp_path, SWITCHED_ON).check({"openai", "azure"})
    assert list(problems) == []


def test_the_example_holds_every_setting(tmp_path: Path) -> None:
    raw: Mapping[str, Any] = tomllib.loads(SWITCHED_ON)
    assert {(section, key) for section in SECTIONS for key in raw[section]} == set(keys_of_sections())
    for table, kind in TABLES.items():
        assert {key for item in raw[table] for key in item} == set(kind.__struct_fields__), table


def test_the_example_shows_the_defaults_where_it_says_no_other(tmp_path: Path) -> None:
    lines = {}
    for item in example(tmp_path, SWITCHED_ON).explain():
        line = item.source.where.rpartition(":")[2]
        lines[item.key] = SWITCHED_ON.splitlines()[int(line) - 1] if line else ""
    defaults = {item.key: item.value for item in example(tmp_path, EXAMPLE).explain()}
    shown = {item.key: item.value for item in example(tmp_path, SWITCHED_ON).explain()}
    for key, value in defaults.items():
        if "default:" not in lines[key] and not key.startswith("limits."):
            assert shown[key] == value, key
