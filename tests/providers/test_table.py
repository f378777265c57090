"""The table in the documentation is the rows."""

from pathlib import Path

import pytest

from posthouse.providers.registry import BUILTIN
from posthouse.providers.table import main, page, table

PAGE = Path(__file__).parents[2] / "docs" / "providers.md"


def test_the_documentation_holds_the_table_as_the_rows_have_it() -> None:
    text = PAGE.read_text("utf-8")
    assert page(text, BUILTIN) == text, "run: python -m posthouse.providers.table"


def test_every_row_has_a_line() -> None:
    lines = table(BUILTIN).splitlines()[2:]
    assert [line.split("`")[1] for line in lines] == [row.name for row in BUILTIN]


def test_a_page_is_written_in_place_and_the_rest_of_it_stays(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(page(PAGE.read_text("utf-8"), []) + "after", "utf-8")
    main([str(path)])
    assert path.read_text("utf-8") == PAGE.read_text("utf-8") + "after"


def test_without_an_argument_the_page_of_this_project_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "docs").mkdir()
    copy = tmp_path / "docs" / "providers.md"
    copy.write_text(page(PAGE.read_text("utf-8"), []), "utf-8")
    monkeypatch.chdir(tmp_path)
    main([])
    assert copy.read_text("utf-8") == PAGE.read_text("utf-8")


def test_a_dash_prints_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    main(["-"])
    assert capsys.readouterr().out == table(BUILTIN)


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="no marks"):
        page("nothing", BUILTIN)
