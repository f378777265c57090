"""docs/billing.md: every rule has an id of its own and names tests that exist."""

import ast
import re
from pathlib import Path

import pytest

from posthouse.billing import verify, verify_credits

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs/billing.md"
ROW = re.compile(r"^\| ([A-Z]+-\d+) \| (.+) \| (.+) \|$", re.MULTILINE)
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
# Written with the routes that it runs over; its rules are checked as soon as it is there.
AWAITED = "tests/e2e/test_billing_matrix.py"
ROWS = ROW.findall(DOCUMENT.read_text(encoding="utf-8"))


def functions_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_rule_has_an_id_of_its_own_and_ids_have_no_gaps() -> None:
    ids = [row[0] for row in ROWS]
    assert len(ids) == len(set(ids))
    numbers: dict[str, list[int]] = {}
    for name, _, number in (one.partition("-") for one in ids):
        numbers.setdefault(name, []).append(int(number))
    assert numbers == {name: list(range(1, len(found) + 1)) for name, found in numbers.items()}
    rooms = {"PRICE", "RATE", "UNIT", "HOLD", "BUDGET", "LEDGER", "COUNT", "END", "PASS", "REPEAT"}
    assert set(numbers) == rooms | {"OWN", "CREDIT", "CODE", "INVITE", "TOPUP"}


@pytest.mark.parametrize(("rule", "tests"), [(row[0], row[2]) for row in ROWS])
def test_every_rule_names_tests_that_exist(rule: str, tests: str) -> None:
    named = TEST.findall(tests)
    assert named, f"{rule} names no test"
    for file, name in named:
        if file == AWAITED and not (ROOT / file).exists():
            continue
        assert (ROOT / file).is_file(), f"{rule} names {file}, which does not exist"
        assert name in functions_in(ROOT / file), f"{rule} names {name}, which {file} does not have"


def test_every_rule_that_verification_names_is_written_down() -> None:
    source = "".join([Path(str(one.__file__)).read_text(encoding="utf-8") for one in (verify, verify_credits)])
    assert set(re.findall(r'"([A-Z]+-\d+)"', source)) <= {row[0] for row in ROWS}
