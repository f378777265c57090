"""docs/errors.md tells of every status and every code that the source raises, and of no other."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from posthouse.core.errors import FailureKind, UpstreamFailure
from tests.architecture.source import modules

PAGE: Final = (Path(__file__).parents[2] / "docs" / "errors.md").read_text(encoding="utf-8")
FAILURES: Final = "providers/failures.py"
TOLD: Final = ("_OURS", "_THEIRS")


def base_names(node: ast.ClassDef) -> list[str]:
    return [base.id for base in node.bases if isinstance(base, ast.Name)]


def error_classes() -> dict[str, ast.ClassDef]:
    """Every class of the source below PosthouseError, found by the names of its bases."""
    every = [node for module in modules() for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef)]
    found: dict[str, ast.ClassDef] = {node.name: node for node in every if node.name == "PosthouseError"}
    while more := {n.name: n for n in every if n.name not in found and any(base in found for base in base_names(n))}:
        found |= more
    return found


def constants(node: ast.ClassDef, name: str) -> Iterator[object]:
    """What a class body assigns to `name`."""
    for statement in node.body:
        if isinstance(statement, ast.Assign):
            targets, value = statement.targets, statement.value
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            targets, value = [statement.target], statement.value
        else:
            continue
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            assert isinstance(value, ast.Constant)
            yield value.value


def raised_codes() -> set[str]:
    """Codes of classes, codes given to one error, and those that a provider's failure is given."""
    classes = error_classes()
    found: set[object] = {code for node in classes.values() for code in constants(node, "code")}
    for module in modules():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in classes:
                given = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
                found |= {value.value for value in given if isinstance(value, ast.Constant)}
        if module.name == FAILURES:
            found |= set(codes_of_failures(module.tree))
    return {code for code in found if isinstance(code, str)}


def codes_of_failures(tree: ast.Module) -> Iterator[object]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == "_code_of":
            returned = [one.value for one in ast.walk(node) if isinstance(one, ast.Return)]
            for value in returned:
                yield from (one.value for one in (value, getattr(value, "body", None)) if isinstance(one, ast.Constant))
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id in TOLD:
            assert isinstance(node.value, ast.Dict)
            for pair in node.value.values:
                assert isinstance(pair, ast.Tuple)
                assert isinstance(pair.elts[1], ast.Constant)
                yield pair.elts[1].value


def rows(heading: str) -> list[list[str]]:
    part = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_code_that_is_raised_is_documented_and_no_other() -> None:
    documented = [row[0].strip("`") for row in rows("By code")]
    assert set(documented) == raised_codes()
    assert documented == sorted(documented)


def test_every_status_that_is_raised_is_documented_and_no_other() -> None:
    raised = {status for node in error_classes().values() for status in constants(node, "status")}
    raised |= {UpstreamFailure(kind, "").status for kind in FailureKind.__args__}  # type: ignore[attr-defined]
    assert {int(row[0]) for row in rows("By status")} == raised


def test_every_type_of_error_is_documented_with_its_status() -> None:
    documented = {(int(row[0]), name) for row in rows("By status") for name in re.findall(r"`(\w+)`", row[1])}
    failures = [UpstreamFailure(kind, "") for kind in FailureKind.__args__]  # type: ignore[attr-defined]
    assert {(failure.status, failure.type) for failure in failures} <= documented
    for name, node in error_classes().items():
        for status, kind in zip(constants(node, "status"), constants(node, "type"), strict=False):
            assert (status, kind) in documented, name


def test_a_status_of_a_code_is_among_the_documented_ones() -> None:
    known = {row[0] for row in rows("By status")}
    assert {row[1] for row in rows("By code")} <= known
