"""The table: for the terminal, and the same in Markdown for docs/benchmarks.md."""

from dataclasses import dataclass
from pathlib import Path

BEGIN = "<!-- table: begin (written by `make bench` with BENCH_WRITE=1) -->"
END = "<!-- table: end -->"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `ok` is None where no target is set."""

    title: str
    target: str
    measured: str
    spread: str = ""
    ok: bool | None = None

    @property
    def verdict(self) -> str:
        """In words."""
        return "" if self.ok is None else "ok" if self.ok else "NOT MET"


@dataclass(frozen=True, slots=True)
class Table:
    """A further table; the first line is its header."""

    title: str
    lines: list[list[str]]


@dataclass(frozen=True, slots=True)
class Report:
    """All that a run found."""

    machine: list[str]
    rows: list[Row]
    tables: list[Table]
    notes: list[str]


def _columns(lines: list[list[str]]) -> list[int]:
    return [max(len(line[index]) for line in lines) for index in range(len(lines[0]))]


def _cells(report: Report) -> list[list[str]]:
    header = ["figure", "target", "measured", "spread", ""]
    return [header, *([row.title, row.target, row.measured, row.spread, row.verdict] for row in report.rows)]


def _text_table(lines: list[list[str]]) -> list[str]:
    widths = _columns(lines)
    printed = []
    for line in lines:
        cells = [
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        printed.append("  ".join(cells).rstrip())
    return [printed[0], "  ".join("-" * width for width in widths), *printed[1:]]


def _markdown_table(lines: list[list[str]]) -> list[str]:
    rule = "|---|" + "---:|" * (len(lines[0]) - 1)
    return ["| " + " | ".join(lines[0]) + " |", rule, *("| " + " | ".join(line) + " |" for line in lines[1:])]


def to_text(report: Report) -> str:
    """For a terminal."""
    lines = [*report.machine, "", *_text_table(_cells(report))]
    for table in report.tables:
        lines += ["", f"{table.title}:", "", *_text_table(table.lines)]
    return "\n".join([*lines, "", *report.notes])


def to_markdown(report: Report) -> str:
    """For the documentation."""
    lines = [f"Measured on: {'; '.join(report.machine)}.", "", *_markdown_table(_cells(report))]
    for table in report.tables:
        lines += ["", f"{table.title}:", "", *_markdown_table(table.lines)]
    return "\n".join([*lines, "", *(f"- {note}" for note in report.notes)])


def write_into(page: Path, markdown: str) -> None:
    """Replace what stands between the marks of `page`; raises ValueError where they are missing."""
    text = page.read_text()
    before, mark, rest = text.partition(BEGIN)
    _old, end, after = rest.partition(END)
    if not mark or not end:
        raise ValueError(f"{page.name} has no place for the table")
    page.write_text(f"{before}{BEGIN}\n\n{markdown}\n\n{END}{after}")
