"""Imports stand at the top, where the floors can be checked, and nowhere else."""

import ast
from collections.abc import Iterator
from typing import Final

from tests.architecture.source import Module, modules

# Functions that import by name, hidden from import-linter. Each use is argued; what is gone must go from here too.
DYNAMIC: Final = {"import_module", "__import__", "resolve_name", "find_spec", "spec_from_file_location", "run_module"}
ALLOWED: Final = {
    # FastAPI and Pydantic take a third of a cold start; app loads the control plane once the socket listens. App stands
    # above api, so that the arrow points down all the same (docs/adr/0005).
    ("app.py", "resolve_name"),
    # An operator who has genai-prices installed may hand over what it says; it is no dependency of ours.
    ("cli/prices.py", "resolve_name"),
}


def hidden(module: Module) -> Iterator[str]:
    for function in module.functions():
        for node in ast.walk(function):
            if isinstance(node, ast.Import | ast.ImportFrom):
                yield f"{module.at(node)} in {function.name}"


def dynamic(module: Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(module.tree):
        name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else None
        if name in DYNAMIC:
            yield module.name, name


def test_no_import_stands_inside_a_function() -> None:
    assert [place for module in modules() for place in hidden(module)] == []


def test_nothing_is_imported_by_name_but_what_is_argued() -> None:
    found = [use for module in modules() for use in dynamic(module)]
    assert sorted(found) == sorted(ALLOWED)


def test_imports_are_not_made_conditional_on_type_checking() -> None:
    # Such an import is an arrow that only the type checker sees: the floors want it moved, not hidden.
    assert [module.name for module in modules() if "TYPE_CHECKING" in module.text] == []
