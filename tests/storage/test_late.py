"""Holds that other servers gave up, and what the journal of their own server says of them when it is back."""

from collections.abc import Iterator, Sequence
from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update

from posthouse.storage import late
from posthouse.storage.appliers import APPLIERS, Applier
from posthouse.storage.database import Database
from posthouse.storage.rows import END, EndRow
from posthouse.storage.tables import holds
from tests.storage.sample import Line, clear, dump, end, expected, hold, request, whole
from tests.storage.test_appliers import apply

LATER = 7_200_000


@pytest.fixture
def applier(database: Database) -> Iterator[Applier]:
    with closing(APPLIERS[database.kind](database)) as made:
        yield made


def give_up(database: Database, reason: str = late.LOST) -> None:
    """What `expire_of` does, of whomever."""
    with database.write() as connection:
        connection.execute(
            update(holds)
            .where(holds.c.state == "held")
            .values(state="expired", charged=0, ended_at=LATER, reason=reason)
        )


def noted(database: Database) -> dict[str, str]:
    with database.read() as connection:
        return late.noted(connection)


@pytest.mark.req("LATE-001")
@pytest.mark.parametrize("charged", [7, 0])
def test_an_end_of_a_hold_that_was_given_up_settles_it_once(database: Database, applier: Applier, charged: int) -> None:
    lines = [hold(1), end(1, charged), request(1)]
    apply(applier, lines[:1])
    give_up(database)
    assert apply(applier, lines[1:]) == 0
    assert dump(database) == expected(lines)
    assert apply(applier, [end(1, 50), request(1)]) == 1
    assert apply(applier, lines) == 1
    assert dump(database) == expected(lines)
    assert noted(database) == {"key_1": "req_000001", "acc_1": "req_000001"}


@pytest.mark.req("LATE-001")
def test_a_release_of_a_hold_that_was_given_up_releases_it(database: Database, applier: Applier) -> None:
    lines = [hold(1), end(1, 0, "released")]
    apply(applier, lines[:1])
    give_up(database)
    apply(applier, lines[1:])
    assert dump(database) == expected(lines)


@pytest.mark.req("LATE-002")
def test_a_hold_that_its_own_server_expired_has_ended(database: Database, applier: Applier) -> None:
    apply(applier, [hold(1)])
    give_up(database, "crash")
    before = dump(database)
    assert apply(applier, [end(1)]) == 1
    assert dump(database) == before
    assert noted(database) == {}


@pytest.mark.req("LATE-003")
def test_a_note_is_taken_off_only_as_it_was_read(database: Database, applier: Applier) -> None:
    apply(applier, [hold(1), hold(7)])  # of one key and one account
    give_up(database)
    apply(applier, [end(1)])
    notes = noted(database)
    apply(applier, [end(7)])
    with database.write() as connection:
        late.told(connection, notes)
    assert noted(database) == {"key_1": "req_000007", "acc_1": "req_000007"}
    with database.write() as connection:
        late.told(connection, noted(database))
    assert noted(database) == {}


@pytest.mark.req("LATE-001")
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), sizes=st.lists(st.integers(1, 7), min_size=1, max_size=8))
def test_journals_in_any_order_around_the_giving_up_come_to_what_the_rules_say(
    database: Database, data: st.DataObject, sizes: list[int]
) -> None:
    """Two servers: the numbers of one are even. Each journal is in its own order; some requests never end."""
    clear(database)
    unended = data.draw(st.sets(st.integers(0, 7)))
    journals: list[list[Line]] = [[], []]
    for number in range(8):
        lines = [hold(number)] if number in unended else [*whole(number), end(number, 90)]
        journals[number % 2] += lines
    applied: list[Line] = []
    given_up: set[str] = set()
    with closing(APPLIERS[database.kind](database)) as applier:
        for size in sizes * 8:
            if data.draw(st.booleans()):
                give_up(database)
                given_up |= _open(applied)
            journal = journals[data.draw(st.integers(0, 1))]
            apply(applier, journal[:size])
            applied += journal[:size]
            del journal[:size]
        for journal in journals:
            apply(applier, journal)
            applied += journal
    found, wanted = dump(database), expected(applied)
    lost = _open(applied) & given_up
    wanted["holds"] = [
        (*row[:6], "expired", row[7], LATER, 0, late.LOST, row[11]) if row[0] in lost else row
        for row in wanted["holds"]
    ]
    assert found == wanted


def _open(lines: Sequence[Line]) -> set[str]:
    ended = {row.hold_id for kind, row in lines if kind == END and isinstance(row, EndRow)}
    return {str(row.id) for kind, row in lines if kind == "H"} - ended  # type: ignore[union-attr]


def test_holds_of_a_row_are_in_the_order_that_this_file_takes() -> None:
    assert [column.name for column in select(holds).selected_columns][6:] == [
        "state",
        "created_at",
        "ended_at",
        "charged",
        "reason",
        "owner",
    ]
