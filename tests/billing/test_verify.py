"""`ledger verify` finds every way in which books can be wrong, and nothing in sound ones."""

import pytest
from sqlalchemy import func, select, text

from posthouse.billing.model import Price, Settlement
from posthouse.billing.units import UnitRates
from posthouse.billing.verify import MAX_PROBLEMS, verify
from posthouse.core.usage import Usage
from posthouse.storage.tables import entries
from tests.billing.fakes import PRICE, caller, settlement
from tests.billing.stored import StoredHouse

PER_IMAGE = Price("USD", "test", "m", PRICE.rates, units=UnitRates(image=40_000_000), measures=frozenset({"images"}))
PICTURES = Usage(images=2, image_kind="1024x1024/high")


@pytest.fixture
def kept(stored: StoredHouse) -> StoredHouse:
    """Books with every kind of end in them; the settled hold of 7 is the first."""
    yuan = type(PRICE)("CNY", "test", "m", PRICE.rates)
    stored.settle(stored.hold(caller()), 7)
    stored.settle(stored.hold(caller(name="2")), 12)
    stored.settle(stored.hold(caller()), 0)
    stored.settle(stored.hold(caller(), None), 5, None)
    stored.settle(stored.hold(caller(), 10), 3, yuan)
    drawn = stored.hold(caller(), 500)
    stored.record(drawn, drawn.settle(Settlement(PICTURES, "provider", PER_IMAGE, "main")), PICTURES)
    stored.release(stored.hold(caller()))
    stored.clock.now += 86_400
    late = stored.hold(caller())
    stored.clock.now += 86_400
    stored.settle(late, 9)
    stored.hold(caller())
    stored.save()
    return stored


def change(house: StoredHouse, statement: str) -> None:
    """Runs a statement in which `<first>` is the id of the first settled hold."""
    with house.database.write() as connection:
        first = connection.execute(select(func.min(entries.c.hold_id))).scalar_one()
        connection.execute(
            text(statement.replace("<first>", ":first")), {"first": first} if "<first>" in statement else {}
        )


def rules(house: StoredHouse) -> set[str]:
    found = verify(house.database, house.clock())
    assert found.ok == (not found.problems)
    return {problem.rule for problem in found.problems}


def test_sound_books_have_no_problems_and_open_holds_are_counted(kept: StoredHouse) -> None:
    found = verify(kept.database, kept.clock())
    assert (found.ok, found.holds_open, found.problems, found.truncated) == (True, 1, (), False)
    assert found.holds_unrecorded == 0


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        ("UPDATE entries SET amount = amount + 1 WHERE leg = 1 AND hold_id = <first>", "LEDGER-1"),
        ("DELETE FROM entries WHERE leg = 1 AND hold_id = <first>", "LEDGER-1"),
        ("UPDATE entries SET currency = 'EUR' WHERE leg = 1 AND hold_id = <first>", "LEDGER-1"),
        ("DELETE FROM entries WHERE hold_id = <first>", "LEDGER-2"),
        ("UPDATE holds SET charged = charged + 1 WHERE id = <first>", "LEDGER-2"),
        ("UPDATE holds SET state = 'released' WHERE id = <first>", "LEDGER-2"),
        ("UPDATE holds SET state = 'held' WHERE id = <first>", "LEDGER-2"),
        ("UPDATE holds SET ended_at = NULL WHERE id = <first>", "LEDGER-2"),
        ("DELETE FROM holds WHERE id = <first>", "LEDGER-2"),
        ("UPDATE entries SET ledger_account = 'account:x' WHERE leg = 0 AND hold_id = <first>", "LEDGER-2"),
        ("UPDATE requests SET cost = cost + 1 WHERE id = <first>", "LEDGER-3"),
        ("UPDATE requests SET cost = NULL WHERE id = <first>", "LEDGER-3"),
        ("UPDATE requests SET currency = 'EUR' WHERE id = <first>", "LEDGER-3"),
        ("UPDATE requests SET usage_source = 'estimated' WHERE id = <first>", "LEDGER-3"),
        ("UPDATE requests SET hold_state = 'settled' WHERE hold_state = 'released'", "LEDGER-3"),
        ("UPDATE requests SET input = -1 WHERE id = <first>", "LEDGER-7"),
        ("UPDATE requests SET audio_ms = -1 WHERE id = <first>", "LEDGER-7"),
        ("UPDATE requests SET images = 1 WHERE hold_state = 'released'", "LEDGER-7"),
        ("UPDATE requests SET output = 1 WHERE hold_state = 'released'", "LEDGER-7"),
        ("UPDATE spend SET amount = amount + 1 WHERE subject_id = 'key_2'", "LEDGER-4"),
        ("DELETE FROM spend WHERE subject_id = 'key_2'", "LEDGER-4"),
        ("UPDATE spend SET day = day + 1 WHERE subject_id = 'key_2'", "LEDGER-4"),
        ("INSERT INTO spend (subject_id, day, currency, amount) VALUES ('key_9', 20261120, 'USD', 1)", "LEDGER-4"),
        ("UPDATE usage_hours SET cost = cost + 1 WHERE key_id = 'key_2'", "LEDGER-8"),
        ("UPDATE usage_hours SET output = output + 1 WHERE key_id = 'key_2'", "LEDGER-8"),
        ("UPDATE usage_days SET requests = requests + 1 WHERE key_id = 'key_2'", "LEDGER-8"),
        ("DELETE FROM usage_hours WHERE key_id = 'key_2'", "LEDGER-8"),
        ("DELETE FROM usage_days WHERE key_id = 'key_2'", "LEDGER-8"),
        ("DELETE FROM requests WHERE id = <first>", "LEDGER-8"),
    ],
)
def test_every_wrong_is_found_and_named(statement: str, rule: str, kept: StoredHouse) -> None:
    change(kept, statement)
    assert rule in rules(kept)


def test_a_forgotten_hold_is_a_problem_and_an_open_one_is_not(kept: StoredHouse) -> None:
    kept.clock.now += 3_599
    assert rules(kept) == set()
    kept.clock.now += 2
    assert rules(kept) == {"HOLD-7"}


def test_a_record_that_was_dropped_is_counted_and_no_problem(kept: StoredHouse) -> None:
    kept.hold(caller()).settle(settlement(7))
    kept.save()
    found = verify(kept.database, kept.clock())
    assert (found.ok, found.holds_unrecorded) == (True, 1)


def test_a_problem_says_whose_it_is_and_what_was_found(kept: StoredHouse) -> None:
    change(kept, "UPDATE spend SET amount = 13 WHERE subject_id = 'key_2'")
    problem = verify(kept.database, kept.clock()).problems[0]
    assert (problem.rule, problem.id) == ("LEDGER-4", "key_2")
    assert problem.detail == "on 20261120 13 nano-units USD are noted as spent on m, but the entries add up to 12"


def test_the_list_of_problems_is_bounded(stored: StoredHouse) -> None:
    for _ in range(MAX_PROBLEMS + 20):
        stored.settle(stored.hold(caller()), 7)
    stored.save()
    change(stored, "UPDATE holds SET charged = 8")
    found = verify(stored.database, stored.clock())
    assert (len(found.problems), found.truncated, found.ok) == (MAX_PROBLEMS, True, False)
