"""Folds are compared with what they fold, and made anew; spans over them come out exactly."""

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text

from posthouse.billing.balances import DAY_MS
from posthouse.billing.folds import MAX_DIFFERENCES, rebuild
from posthouse.billing.span import Piece, Span, pieces
from posthouse.billing.store import GROUPS, MOST_HOURS, GroupBy, Page, usage
from posthouse.storage.database import Database
from posthouse.storage.rollups import HOUR_MS
from posthouse.storage.rows import REQUEST, RequestRow
from posthouse.storage.tables import spend, usage_days, usage_hours
from tests.billing.fakes import NOW, caller
from tests.billing.stored import StoredHouse, StoredJournal, empty

BEGIN = int(NOW * 1000) // DAY_MS * DAY_MS
FOLDS = (spend, usage_hours, usage_days)


@pytest.fixture
def kept(stored: StoredHouse) -> StoredHouse:
    for number in range(12):
        stored.settle(stored.hold(caller(name=str(number % 3))), 100 + number)
        stored.clock.now += 3 * 3_600
    stored.release(stored.hold(caller()))
    stored.save()
    return stored


def rows(database: Database) -> list[list[tuple[object, ...]]]:
    with database.read() as connection:
        return [sorted(tuple(row) for row in connection.execute(select(table))) for table in FOLDS]


def test_a_rebuild_of_sound_folds_finds_and_changes_nothing(kept: StoredHouse) -> None:
    before = rows(kept.database)
    done = rebuild(kept.database)
    assert (done.differences, done.truncated) == ((), False)
    assert done.rows == dict(zip(("spend", "usage_hours", "usage_days"), map(len, before), strict=True))
    assert rows(kept.database) == before


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM usage_hours",
        "DELETE FROM usage_days",
        "DELETE FROM spend",
        "UPDATE usage_hours SET cost = cost + 5",
        "UPDATE usage_days SET output = 9 WHERE key_id = 'key_1'",
        "UPDATE spend SET amount = amount * 2",
        "UPDATE usage_hours SET key_id = 'key_7' WHERE key_id = 'key_1'",
    ],
)
def test_a_fold_that_was_spoilt_is_told_and_made_anew(kept: StoredHouse, statement: str) -> None:
    before = rows(kept.database)
    with kept.database.write() as connection:
        connection.execute(text(statement))
    assert rows(kept.database) != before
    done = rebuild(kept.database)
    assert {one.fold for one in done.differences} >= {statement.split()[2 if "DELETE" in statement else 1]}
    assert all(one.found != one.expected for one in done.differences)
    assert rows(kept.database) == before
    kept.assert_sound()
    assert rebuild(kept.database).differences == ()


def test_a_difference_says_where_it_is_and_which_numbers_differ(kept: StoredHouse) -> None:
    with kept.database.write() as connection:
        connection.execute(text("UPDATE usage_days SET cost = cost + 1 WHERE key_id = 'key_2' AND day = :day"), at(0))
    (one,) = rebuild(kept.database).differences
    assert (one.fold, one.place["key_id"], one.place["day"]) == ("usage_days", "key_2", BEGIN // DAY_MS)
    assert one.found is not None and one.expected is not None
    assert one.found["cost"] == one.expected["cost"] + 1
    assert list(one.found) == ["cost"]


def at(day: int) -> dict[str, int]:
    return {"day": BEGIN // DAY_MS + day}


def test_the_list_of_differences_is_bounded(database: Database) -> None:
    journal = StoredJournal(database)
    for number in range(MAX_DIFFERENCES + 5):
        row = RequestRow(f"req_{number:012x}", BEGIN, f"key_{number}", "acc_1", "chat.completions", "m", "m", input=1)
        journal.append(REQUEST, row)
    journal.flush()
    journal.apply()
    journal.close()
    with database.write() as connection:
        connection.execute(usage_hours.delete())
    done = rebuild(database)
    assert (len(done.differences), done.truncated) == (MAX_DIFFERENCES, True)
    assert done.rows["usage_hours"] == MAX_DIFFERENCES + 5


INSTANTS = st.one_of(
    st.none(), st.integers(BEGIN - DAY_MS, BEGIN + 4 * DAY_MS), st.integers(-24, 96).map(lambda h: BEGIN + h * HOUR_MS)
)


@given(start=INSTANTS, end=INSTANTS, hourly=st.booleans())
def test_the_pieces_of_a_span_cover_it_once(start: int | None, end: int | None, hourly: bool) -> None:
    found = pieces(Span(start, end), hourly)
    at = start
    for piece in found:
        assert piece.size in ((HOUR_MS, 1) if hourly else (DAY_MS, HOUR_MS, 1))
        begins = None if piece.start is None else piece.start * piece.size
        assert begins == at
        at = None if piece.end is None else piece.end * piece.size
    if start is not None and end is not None and start >= end:
        assert found == []
    else:
        assert at == end
    assert len(found) <= 5
    assert sum(piece.size == 1 for piece in found) <= 2


def test_a_span_of_whole_days_reads_no_hour_and_no_record() -> None:
    assert pieces(Span(BEGIN, BEGIN + 30 * DAY_MS)) == [Piece(DAY_MS, BEGIN // DAY_MS, BEGIN // DAY_MS + 30)]
    assert [piece.size for piece in pieces(Span())] == [DAY_MS]


@given(
    moments=st.lists(st.integers(BEGIN, BEGIN + 3 * DAY_MS), max_size=8),
    start=INSTANTS,
    end=INSTANTS,
    group_by=st.sampled_from(GROUPS),
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_usage_of_any_span_is_that_of_its_records(
    database: Database, moments: list[int], start: int | None, end: int | None, group_by: GroupBy
) -> None:
    empty(database)
    journal = StoredJournal(database)
    for number, moment in enumerate(moments):
        row = RequestRow(f"req_{moment:012x}{number:06x}", moment, "key_1", "acc_1", "chat.completions", "m", "m")
        journal.append(REQUEST, msgspec.structs.replace(row, output=number + 1, usage_source="provider"))
    journal.flush()
    journal.apply()
    journal.close()
    inside = {
        number: moment
        for number, moment in enumerate(moments)
        if (start is None or start <= moment) and (end is None or moment < end)
    }
    with database.read() as connection:
        found, _ = usage(connection, group_by, Span(start, end), Page(1000))
    assert sum(row.requests for row in found) == len(inside)
    assert sum(row.output_tokens for row in found) == sum(number + 1 for number in inside)
    if group_by in ("hour", "day"):
        unit = HOUR_MS if group_by == "hour" else DAY_MS
        assert len(found) == len({moment // unit for moment in inside.values()})


def test_a_page_of_hours_has_no_more_than_are_added_up_at_once(stored: StoredHouse) -> None:
    for _ in range(MOST_HOURS + 3):
        stored.clock.now += 3600
        stored.settle(stored.hold(caller()), 1)
    stored.save()
    with stored.database.read() as connection:
        first, following = usage(connection, "hour", page=Page(1000))
        assert following is not None
        rest, end = usage(connection, "hour", page=Page(1000, following))
    assert (len(first), len(rest), end) == (MOST_HOURS, 3, None)
    assert sum(row.requests for row in (*first, *rest)) == MOST_HOURS + 3
