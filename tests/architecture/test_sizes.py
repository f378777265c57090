"""Sizes that keep the code readable: a function is 70 lines at most, a file 400, a parameter list 5.

Whoever must exceed one says why: a paragraph of the docstring (of the module for a file, of the function for the
others) that begins with `Size:`.
"""

from typing import Final

from tests.architecture.source import Function, Module, modules

MAX_FUNCTION: Final = 70
MAX_FILE: Final = 400
MAX_PARAMETERS: Final = 5


def argued(docstring: str | None) -> bool:
    return any(line.strip().startswith("Size:") for line in (docstring or "").splitlines())


def parameters(function: Function) -> int:
    """All of them, keyword-only too, but `self` and `cls`."""
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args]
    own = 1 if named and named[0].arg in ("self", "cls") else 0
    return len(named) - own + len(arguments.kwonlyargs)


def lines(function: Function) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def docstring_of(function: Function) -> str | None:
    first = function.body[0]
    value = getattr(getattr(first, "value", None), "value", None)
    return value if isinstance(value, str) else None


def functions() -> list[tuple[Module, Function]]:
    return [
        (module, function)
        for module in modules()
        for function in module.functions()
        if not argued(docstring_of(function))
    ]


def test_no_function_is_longer_than_seventy_lines() -> None:
    long = [f"{m.at(f)} {f.name}: {lines(f)}" for m, f in functions() if lines(f) > MAX_FUNCTION]
    assert long == []


def test_no_function_takes_more_than_five_parameters() -> None:
    wide = [f"{m.at(f)} {f.name}: {parameters(f)}" for m, f in functions() if parameters(f) > MAX_PARAMETERS]
    assert wide == []


def test_no_file_is_longer_than_four_hundred_lines() -> None:
    sizes = {module.name: len(module.text.splitlines()) for module in modules() if not argued(module.docstring)}
    assert {name: size for name, size in sizes.items() if size > MAX_FILE} == {}


def test_no_function_passes_on_unnamed_keywords() -> None:
    assert [f"{m.at(f)} {f.name}" for m, f in functions() if f.args.kwarg is not None] == []
