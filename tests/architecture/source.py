"""Our own source as syntax trees, read once for all tests of this folder."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

from msgspec import Struct

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGE: Final = ROOT / "src" / "posthouse"

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Module(Struct, frozen=True):
    """`name` is the path below its folder with slashes, such as `api/openai.py`."""

    name: str
    text: str
    tree: ast.Module

    @property
    def docstring(self) -> str:
        return ast.get_docstring(self.tree) or ""

    def functions(self) -> Iterator[Function]:
        """Methods and nested functions too."""
        for node in ast.walk(self.tree):
            if isinstance(node, Function):
                yield node

    def at(self, node: ast.stmt | ast.expr | ast.excepthandler) -> str:
        return f"{self.name}:{node.lineno}"


@cache
def modules(folder: Path = PACKAGE) -> tuple[Module, ...]:
    """Every Python file below `folder`."""
    found = []
    for path in sorted(folder.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        found.append(Module(path.relative_to(folder).as_posix(), text, ast.parse(text, str(path))))
    return tuple(found)
