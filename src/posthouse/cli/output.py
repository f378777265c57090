"""What commands print, and how they end: a table for people, JSON for programs, complaints on stderr.

Exit codes: 0 done, 1 failed, 2 bad use. Tables are drawn here and not by Rich, which would add 50 ms (CPython 3.11) to
the start of every command and of the server, for a few columns.
"""

import contextlib
import datetime as dt
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
import typer

from posthouse.core.errors import InvalidRequest, PosthouseError

FAILED: Final = 1
BAD_USE: Final = 2
_GAP: Final = "  "


@contextlib.contextmanager
def reporting() -> Iterator[None]:
    """Turns what we raise on purpose into a line on stderr and an exit code."""
    try:
        yield
    except InvalidRequest as error:
        complain(error.message)
        raise typer.Exit(BAD_USE) from None
    except PosthouseError as error:
        complain(error.message)
        raise typer.Exit(FAILED) from None


def complain(message: str) -> None:
    sys.stderr.write(f"posthouse: {message}\n")


def say(text: str) -> None:
    sys.stdout.write(text + "\n")


def show_json(value: Any) -> None:
    """Indented for terminals, one line otherwise."""
    encoded = msgspec.json.encode(value)
    if sys.stdout.isatty():
        encoded = msgspec.json.format(encoded, indent=2)
    say(encoded.decode())


def show_listing(rows: Sequence[dict[str, Any]], columns: Sequence[str], *, as_json: bool, empty: str) -> None:
    """`{"data": rows, "next": null}`, or a table of `columns`; `empty` is what people read where there are none."""
    if as_json:
        show_json({"data": rows, "next": None})
    elif rows:
        say(table(columns, [[cell(row.get(column)) for column in columns] for row in rows]))
    else:
        say(empty)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell; the head in bold where a person reads it."""
    heads = [column.replace("_", " ") for column in columns]
    widths = [max(map(width, column)) for column in zip(heads, *rows, strict=True)]
    lines = [_line(heads, widths), *(_line(row, widths) for row in rows)]
    if sys.stdout.isatty():
        lines[0] = typer.style(lines[0], bold=True)
    return "\n".join(lines)


def cell(value: object) -> str:
    """A value as people read it in a table; `-` for what is not there."""
    match value:
        case None | "" | []:
            return "-"
        case bool():
            return "yes" if value else "no"
        case dict():
            return " ".join(f"{name}={cell(one)}" for name, one in value.items() if one is not None) or "-"
        case list() | tuple():
            return ", ".join(cell(one) for one in value)
        case dt.datetime():
            return value.isoformat(timespec="seconds")
        case _:
            return str(value)


def width(text: str) -> int:
    """Columns of a terminal: Chinese, Japanese and Korean characters take two."""
    return sum(2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (text + " " * (size - width(text)) for text, size in zip(cells, widths, strict=True))
    return _GAP.join(padded).rstrip()
