"""Small habits of the house that a linter has no rule for."""

import ast

from tests.architecture.source import ROOT, Module, modules


def test_no_module_is_called_utils() -> None:
    nobody = {"utils", "util", "helpers", "misc", "common"}
    assert [module.name for module in modules() if module.name.removesuffix(".py").split("/")[-1] in nobody] == []


def test_no_module_global_is_changed() -> None:
    found = [module.at(node) for module in modules() for node in ast.walk(module.tree) if isinstance(node, ast.Global)]
    assert found == []


def broad(handler: ast.ExceptHandler) -> bool:
    caught = handler.type
    every = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return caught is None or any(
        isinstance(one, ast.Name) and one.id in ("Exception", "BaseException") for one in every
    )


def reraises(handler: ast.ExceptHandler) -> bool:
    """`except BaseException: clean up; raise` swallows nothing."""
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def explained(module: Module, handler: ast.ExceptHandler) -> bool:
    lines = module.text.splitlines()
    near = lines[max(0, handler.lineno - 2) : handler.body[0].lineno]
    return any("#" in line for line in near)


def test_whoever_catches_everything_says_why() -> None:
    found = [
        module.at(node)
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ExceptHandler) and broad(node) and not reraises(node) and not explained(module, node)
    ]
    assert found == []


def test_no_test_patches_what_it_tests() -> None:
    found = [
        module.at(node)
        for module in modules(ROOT / "tests")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Import | ast.ImportFrom) and "mock" in ast.unparse(node)
    ]
    assert found == []


def test_every_module_and_every_package_says_what_it_is_for() -> None:
    assert [module.name for module in modules() if not module.docstring and module.text.strip()] == []
