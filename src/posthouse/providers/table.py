"""Writes the table of docs/providers.md from the rows: `python -m posthouse.providers.table`, in the project's folder.

Another page is named as the argument; `-` prints the table. What stands outside the two marks is left as it is.
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from posthouse.providers.model import Provider
from posthouse.providers.registry import BUILTIN

BEGIN: Final = "<!-- providers: written by `python -m posthouse.providers.table`, not by hand -->"
END: Final = "<!-- end of providers -->"
_PAGE: Final = "docs/providers.md"
_HEAD: Final = """\
| `type` | Provider | Variable | Address | Speaks | Embeddings | Besides | Lists models | Usage in streams |
|---|---|---|---|---|---|---|---|---|
"""


def table(rows: Iterable[Provider]) -> str:
    """The Markdown table, one line a row."""
    return _HEAD + "".join(_line(row) for row in rows)


def page(text: str, rows: Iterable[Provider]) -> str:
    """`text` with a fresh table between its marks. ValueError where it has no marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("the page has no marks for the table")
    return f"{before}{BEGIN}\n{table(rows)}{END}{after}"


def _line(row: Provider) -> str:
    title = f"[{row.title}]({row.docs})" if row.docs.startswith("https://") else row.title
    names = " ".join(f"`{name}`" for name in (row.name, *row.aliases))
    variables = " ".join(f"`{name}`" for name in (*row.env, row.base_url_env) if name)
    address = "in this process" if row.transport is not None else f"`{row.base_url}`" if row.base_url else "yours"
    cells = (
        names,
        title,
        variables or "-",
        address,
        ", ".join(row.wires),
        _yes(row.path_of("embeddings")),
        ", ".join(row.offers) or "-",
        _yes(row.path_of("models")),
        {"include_usage": "asked for", "always": "always", "never": "never: counted"}[row.stream_usage],
    )
    return "| " + " | ".join(cells) + " |\n"


def _yes(value: object) -> str:
    return "yes" if value else "no"


def main(arguments: list[str]) -> None:
    if arguments == ["-"]:
        sys.stdout.write(table(BUILTIN))
        return
    path = Path(arguments[0] if arguments else _PAGE)
    path.write_text(page(path.read_text("utf-8"), BUILTIN), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
