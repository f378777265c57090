"""Sums of closed days: usage comes out as from the records whatever has been summed, and what has changed is noted."""

import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select, text

from posthouse.billing.balances import DAY_MS
from posthouse.billing.corrections import CorrectionDesk, NewCorrection
from posthouse.billing.folds import Difference, rebuild, usage_differences
from posthouse.billing.span import Span
from posthouse.billing.store import GROUPS, GroupBy, Page, usage
from posthouse.billing.sums import Piece, cut
from posthouse.storage import sums
from posthouse.storage.database import Database
from posthouse.storage.rollups import HOUR_MS
from posthouse.storage.rows import REQUEST, RequestRow
from posthouse.storage.tables import accounts, usage_changed, usage_sums
from tests.billing.fakes import NOW
from tests.billing.stored import StoredJournal, empty

BEGIN = int(NOW * 1000) // DAY_MS // sums.DAYS_OF_BLOCK * sums.DAYS_OF_BLOCK * DAY_MS
DAYS = 3 * sums.DAYS_OF_BLOCK
SIZES = st.sampled_from([(DAY_MS, HOUR_MS, 1), (HOUR_MS, 1)])


def record(number: int, moment: int) -> RequestRow:
    """Of one of three keys, two accounts and two models; one in four failed."""
    return RequestRow(
        *(f"req_{moment:012x}{number:06x}", moment, f"key_{number % 3}", f"acc_{number % 2}", "chat.completions"),
        *("m", f"m{number % 2}", "main", f"main/m{number % 2}"),
        status=502 if number % 4 == 3 else 200,
        output=number + 1,
        usage_source=None if number % 4 == 3 else "provider",
        cost=None if number % 4 == 3 else 10 + number,
        currency=None if number % 4 == 3 else "USD",
        priced=number % 4 != 3,
    )


def write(database: Database, rows: list[RequestRow]) -> None:
    journal = StoredJournal(database)
    for row in rows:
        journal.append(REQUEST, row)
    journal.flush()
    journal.apply()
    journal.close()


def fold_all(database: Database) -> int:
    done = 0
    while True:
        with database.write() as connection:
            if database.kind == "postgresql":
                connection.exec_driver_sql(sums.LOCK)
            days = sums.fold(connection.exec_driver_sql)
        if not days:
            return done
        done += days


def changed(database: Database) -> list[int]:
    with database.read() as connection:
        return list(connection.execute(select(usage_changed.c.day).order_by(usage_changed.c.day)).scalars())


def differing(database: Database) -> list[Difference]:
    with database.read() as connection:
        return list(usage_differences(connection))


def tree(database: Database) -> None:
    """acc_1 is below acc_0, which is below acc_top; no other account."""
    with database.write() as connection:
        connection.execute(accounts.delete())
        for account, above in (("acc_top", None), ("acc_0", "acc_top"), ("acc_1", "acc_0")):
            connection.execute(insert(accounts).values(id=account, name=account, created_at=1, parent_id=above))


@given(start=st.integers(0, 4 * DAY_MS), length=st.integers(0, 4 * DAY_MS), sizes=SIZES)
def test_a_cut_covers_each_instant_of_its_span_once_and_no_other(
    start: int, length: int, sizes: tuple[int, ...]
) -> None:
    found = cut(start, start + length, sizes)
    steps: dict[int, int] = {}
    for piece in found:
        assert piece.size in sizes and piece.start < piece.end
        for at, by in ((piece.start, piece.sign), (piece.end, -piece.sign)):
            steps[at * piece.size] = steps.get(at * piece.size, 0) + by
    covered, at = [], 0
    level = 0
    for moment in sorted(steps):
        if level:
            covered.append((at, moment, level))
        level, at = level + steps[moment], moment
    assert all(one[2] == 1 for one in covered)
    assert sum(end - begin for begin, end, _ in covered) == length
    if length:
        assert (covered[0][0], covered[-1][1]) == (start, start + length)


@given(start=st.integers(0, 4 * DAY_MS), length=st.integers(0, 4 * DAY_MS))
def test_at_an_edge_no_more_than_half_a_unit_is_read_in_smaller_ones(start: int, length: int) -> None:
    for piece in cut(start, start + length, (DAY_MS, HOUR_MS, 1)):
        if piece.size == 1 and length >= HOUR_MS:
            assert piece.end - piece.start <= HOUR_MS // 2
        if piece.size == HOUR_MS and length >= DAY_MS:
            assert piece.end - piece.start <= 12


def test_of_a_day_without_its_last_minute_the_minute_is_taken_away() -> None:
    day = BEGIN // DAY_MS
    assert cut(BEGIN, BEGIN + DAY_MS - 60_000, (DAY_MS, HOUR_MS, 1)) == [
        Piece(DAY_MS, day, day + 1),
        Piece(1, BEGIN + DAY_MS - 60_000, BEGIN + DAY_MS, -1),
    ]


MOMENTS = st.one_of(
    st.integers(BEGIN, BEGIN + DAYS * DAY_MS - 1),
    st.integers(0, DAYS * 24 - 1).map(lambda hour: BEGIN + hour * HOUR_MS),
)


@given(
    first=st.lists(MOMENTS, max_size=12),
    late=st.lists(MOMENTS, max_size=4),
    edges=st.tuples(MOMENTS, MOMENTS),
    by=st.tuples(st.sampled_from(GROUPS), st.sampled_from([None, "acc_top", "acc_1"])),
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_usage_is_that_of_the_records_before_and_after_days_are_summed_and_change_again(
    database: Database,
    first: list[int],
    late: list[int],
    edges: tuple[int, int],
    by: tuple[GroupBy, str | None],
) -> None:
    empty(database)
    tree(database)
    span = Span(min(edges), max(edges))
    rows = [record(number, moment) for number, moment in enumerate(first)]
    write(database, rows)
    for more in (late, []):
        fold_all(database)
        added = [record(number, moment) for number, moment in enumerate(more, len(rows))]
        write(database, added)
        rows += added
        for asked in (span, Span()):
            compare(database, rows, (*by, asked))
    assert differing(database) == []


def compare(database: Database, rows: list[RequestRow], asked: tuple[GroupBy, str | None, Span]) -> None:
    """What `usage` says in pages of two, against one record after the other."""
    group_by, within, span = asked
    expected: dict[Any, list[int]] = {}
    for row in rows:
        inside = (span.start_ms or 0) <= row.created_at < (span.end_ms or 2**60)
        if inside and (within in (None, "acc_top") or row.account_id == within):
            number = expected.setdefault(group_of(row, group_by), [0, 0, 0])
            for place, more in enumerate((1, row.output, row.cost or 0)):
                number[place] += more
    found: dict[Any, list[int]] = {}
    cursor: str | None = None
    while True:
        with database.read() as connection:
            page, cursor = usage(connection, group_by, span, Page(2, cursor), within)
        for one in page:
            assert one.group not in found
            found[one.group] = [one.requests, one.output_tokens, one.cost]
        if cursor is None:
            break
    assert found == {NAMES[group_by](group): sums_of for group, sums_of in expected.items()}


def group_of(row: RequestRow, group_by: GroupBy) -> Any:
    units = {"hour": row.created_at // HOUR_MS, "day": row.created_at // DAY_MS}
    return units[group_by] if group_by in units else getattr(row, COLUMNS[group_by])


COLUMNS = {
    "key": "key_id",
    "account": "account_id",
    "model": "model",
    "provider": "provider",
    "deployment": "deployment",
}


def written(ms: int, shown: str) -> str:
    return time.strftime(shown, time.gmtime(ms // 1000))


NAMES: dict[str, Callable[[Any], str]] = {
    **dict.fromkeys(COLUMNS, str),
    "hour": lambda hour: written(hour * HOUR_MS, "%Y-%m-%dT%H:%MZ"),
    "day": lambda day: written(day * DAY_MS, "%Y-%m-%d"),
}


def two_blocks(database: Database) -> None:
    """A record every six hours, in two blocks and a day; all days but the last summed."""
    write(database, [record(number, BEGIN + number * 6 * HOUR_MS) for number in range(4 * 2 * sums.DAYS_OF_BLOCK + 1)])
    assert fold_all(database) == 2 * sums.DAYS_OF_BLOCK


def test_days_are_summed_when_they_are_over_and_blocks_when_all_their_days_are(database: Database) -> None:
    two_blocks(database)
    day = BEGIN // DAY_MS
    assert changed(database) == [day + 2 * sums.DAYS_OF_BLOCK]
    with database.read() as connection:
        blocks = connection.execute(text("SELECT DISTINCT unit FROM usage_sums WHERE shape = 'key.block' ORDER BY 1"))
        assert [row[0] for row in blocks] == [day // sums.DAYS_OF_BLOCK, day // sums.DAYS_OF_BLOCK + 1]


def test_an_applier_sums_what_is_due_before_its_batch(database: Database) -> None:
    write(database, [record(0, BEGIN), record(1, BEGIN + DAY_MS)])
    assert len(changed(database)) == 2
    write(database, [record(2, BEGIN + DAY_MS)])  # another applier, as after a start
    assert changed(database) == [BEGIN // DAY_MS + 1]


def test_a_record_that_comes_late_opens_its_day_and_a_correction_its_own(database: Database) -> None:
    two_blocks(database)
    write(database, [record(999, BEGIN + 5)])
    desk = CorrectionDesk(database, lambda: BEGIN / 1000 + 86_400)
    desk.make(NewCorrection("acc_1", "key_1", 5, "USD", "why", "who", "once"))
    day = BEGIN // DAY_MS
    assert changed(database) == [day, day + 1, day + 2 * sums.DAYS_OF_BLOCK]
    with database.read() as connection:
        by_key = {row.group: row.cost for row in usage(connection, "key", Span(BEGIN, BEGIN + 2 * DAY_MS))[0]}
    assert fold_all(database) == 2
    with database.read() as connection:
        assert {row.group: row.cost for row in usage(connection, "key", Span(BEGIN, BEGIN + 2 * DAY_MS))[0]} == by_key
    assert rebuild(database).differences == ()


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM usage_sums WHERE shape = 'model.hour'",
        "UPDATE usage_sums SET cost = cost + 1 WHERE shape = 'key.day' AND key_id = 'key_1'",
        "UPDATE usage_sums SET requests = 0 WHERE shape = 'account.block'",
        "UPDATE usage_sums SET account_id = 'acc_9' WHERE shape = 'account_model.block' AND account_id = 'acc_1'",
        "UPDATE usage_sums SET unit = unit + 1000 WHERE shape = 'house.day'",
    ],
)
def test_sums_that_were_spoilt_are_told_and_made_anew(database: Database, statement: str) -> None:
    two_blocks(database)
    before = rows_of(database)
    with database.write() as connection:
        connection.execute(text(statement))
    assert {one.fold for one in differing(database)} == {"usage_sums"}
    assert {one.fold for one in rebuild(database).differences} == {"usage_sums"}
    assert rebuild(database).differences == ()
    assert set(before) <= set(rows_of(database))


def rows_of(database: Database) -> list[tuple[Any, ...]]:
    with database.read() as connection:
        return [tuple(row) for row in connection.execute(select(usage_sums))]


def test_sums_of_days_that_have_changed_are_not_believed_and_not_compared(database: Database) -> None:
    two_blocks(database)
    with database.write() as connection:
        connection.execute(text("UPDATE usage_sums SET requests = requests + 7 WHERE shape LIKE 'key.%'"))
        connection.execute(
            text(
                "INSERT INTO usage_changed SELECT DISTINCT day FROM usage_days WHERE day NOT IN"
                " (SELECT day FROM usage_changed)"
            )
        )
    with database.read() as connection:
        found, _ = usage(connection, "key")
    assert sum(row.requests for row in found) == 4 * 2 * sums.DAYS_OF_BLOCK + 1
    assert rebuild(database).differences == ()


def test_a_page_of_hours_goes_on_where_an_account_had_nothing_for_long(database: Database) -> None:
    tree(database)
    quiet = msgspec.structs.replace(record(0, BEGIN), account_id="acc_1")
    rows = [quiet, msgspec.structs.replace(record(1, BEGIN + 40 * DAY_MS), account_id="acc_1")]
    rows += [
        msgspec.structs.replace(record(2 + hour, BEGIN + hour * HOUR_MS), account_id="acc_0") for hour in range(90)
    ]
    write(database, rows)
    with database.read() as connection:
        first, cursor = usage(connection, "hour", page=Page(1), within="acc_1")
        second, end = usage(connection, "hour", page=Page(1, cursor), within="acc_1")
    assert [len(first), len(second), end] == [1, 1, None]
    assert second[0].output_tokens == 2


def test_an_account_without_usage_has_none(database: Database) -> None:
    tree(database)
    two_blocks(database)
    with database.write() as connection:
        connection.execute(insert(accounts).values(id="acc_new", name="new", created_at=1))
    with database.read() as connection:
        for group_by in GROUPS:
            assert usage(connection, group_by, within="acc_new") == ([], None)
