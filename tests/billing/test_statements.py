"""The statement of a month equals the entries to the last nano-unit, in every time zone."""

import csv
import datetime as dt
import io
from zoneinfo import ZoneInfo

import pytest
from msgspec.structs import replace
from sqlalchemy import select

from posthouse.billing.book_forms import cell, statement_to_csv, statement_to_json
from posthouse.billing.corrections import CorrectionDesk, NewCorrection
from posthouse.billing.credits import CreditDesk, Maker, NewCredit
from posthouse.billing.statements import Statement, month_of, statement
from posthouse.core.errors import InvalidRequest
from posthouse.core.hours import zone_of
from posthouse.storage.tables import corrections, credits, entries, holds
from tests.billing.fakes import PRICE, caller, settlement
from tests.billing.stored import StoredHouse

ZONES = ["UTC", "Asia/Shanghai", "Asia/Kolkata", "America/New_York", "Australia/Lord_Howe", "+05:45"]
FEE = NewCorrection("acc_1", None, 1_000, "USD", "=HYPERLINK(1)", "@olga", "t0")
PAID = NewCredit("acc_1", 10_000, "USD", "manual", "p0", "=by bank", "@olga")


def at(text: str) -> float:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp()


@pytest.fixture
def kept(stored: StoredHouse) -> StoredHouse:
    """Ninety requests of two keys, seven hours and eleven minutes from one to the next, from the end of October on; one
    in ten without a record, one in eleven in yuan, one without a price; another account; corrections, and
    what was paid in and taken back."""
    yuan = type(PRICE)("CNY", "test", "m", PRICE.rates)
    desk = CorrectionDesk(stored.database, stored.clock)
    till = CreditDesk(stored.database, Maker(stored.clock))
    stored.clock.now = at("2026-10-30T00:00:00")
    for number in range(90):
        who = caller(name=str(number % 2))
        if number % 10 == 3:
            stored.hold(who).settle(settlement(1_000_003 + number))
        elif number % 11 == 5:
            stored.settle(stored.hold(who, 10, "CNY"), 500 + number, yuan)
        elif number == 50:
            stored.settle(stored.hold(who, None), 77, None)
        else:
            stored.settle(stored.hold(who), 100 + number)
        if number % 20 == 7:
            desk.make(replace(FEE, amount=1_000 * (-1) ** number * number, idempotency_key=f"t{number}"))
        if number % 15 == 4:
            currency = "EUR" if number == 19 else "USD"
            till.make(replace(PAID, amount=10_000 - 300 * number, currency=currency, source=f"p{number}"))
            till.make(replace(PAID, account_id="acc_2", source=f"q{number}"))
        other = replace(caller(name="9"), account_id="acc_2")
        stored.settle(stored.hold(other), 5)
        stored.clock.now += 7 * 3_600 + 11 * 60
    stored.save()
    stored.assert_sound()
    return stored


def made(house: StoredHouse, month: str, zone: str = "UTC") -> Statement:
    with house.database.snapshot() as connection:
        return statement(connection, "acc_1", month_of(month, zone))


def owed(house: StoredHouse, end_ms: int) -> dict[str, int]:
    """What the entries of the account come to before an instant, one by one."""
    sums: dict[str, int] = {}
    debits = select(entries).where(entries.c.ledger_account == "account:acc_1")
    with house.database.read() as connection:
        began = {
            row.id: row.created_at
            for table in (holds, corrections, credits)
            for row in connection.execute(select(table.c.id, table.c.created_at))
        }
        for row in connection.execute(debits):
            if began[row.hold_id] < end_ms:
                sums[row.currency] = sums.get(row.currency, 0) + row.amount
    return sums


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("month", ["2026-09", "2026-10", "2026-11", "2026-12"])
def test_a_statement_equals_the_entries_to_the_last_nano_unit(kept: StoredHouse, month: str, zone: str) -> None:
    found = made(kept, month, zone)
    assert found.span.start_ms is not None and found.span.end_ms is not None
    assert {one.currency: one.opening for one in found.totals if one.opening} == owed(kept, found.span.start_ms)
    assert {one.currency: one.closing for one in found.totals} == owed(kept, found.span.end_ms)
    for one in found.totals:
        assert one.total == sum(line.cost for line in found.lines if line.currency == one.currency) + sum(
            row.amount for row in found.corrections if row.currency == one.currency
        )


@pytest.mark.parametrize("zone", ZONES)
def test_the_closing_of_a_month_is_the_opening_of_the_next(kept: StoredHouse, zone: str) -> None:
    october, november = made(kept, "2026-10", zone), made(kept, "2026-11", zone)
    assert october.span.end_ms == november.span.start_ms
    assert {one.currency: one.closing for one in october.totals} == {
        one.currency: one.opening for one in november.totals if one.opening
    }


def test_lines_are_by_day_of_the_zone_key_model_and_currency(kept: StoredHouse) -> None:
    found = made(kept, "2026-11", "Asia/Kolkata")
    assert all(line.day.startswith("2026-11-") for line in found.lines)
    assert {line.key_id for line in found.lines} == {"key_0", "key_1"}
    places = [(line.day, line.key_id, line.model, line.currency, line.recorded) for line in found.lines]
    assert len(places) == len(set(places)) or not all(line.recorded for line in found.lines)
    assert [place[:4] for place in places] == sorted(place[:4] for place in places)
    zone = ZoneInfo("Asia/Kolkata")
    with kept.database.read() as connection:
        began = [
            dt.datetime.fromtimestamp(ms / 1000, zone)
            for ms in connection.execute(select(holds.c.created_at).where(holds.c.account_id == "acc_1")).scalars()
        ]
    expected = sum(moment.month == 11 for moment in began)
    assert sum(line.counts["requests"] for line in found.lines) == expected
    assert sum(line.counts["unpriced"] for line in found.lines) == 1


def test_charges_whose_record_was_lost_are_lines_of_their_own(kept: StoredHouse) -> None:
    lost = [line for line in made(kept, "2026-11").lines if not line.recorded]
    assert lost
    assert all(line.cost > 1_000_000 and line.counts["requests"] == 1 for line in lost)


def test_a_month_has_the_days_of_its_zone_with_clocks_that_are_set() -> None:
    month = month_of("2026-03", "America/New_York")
    hours = [((span.end_ms or 0) - (span.start_ms or 0)) / 3_600_000 for _, span in month.days]
    assert (len(hours), min(hours), hours.index(23.0)) == (31, 23.0, 7)
    assert month_of("2028-02", "UTC").days[-1][0] == "2028-02-29"
    for (_, one), (_, following) in zip(month.days, month.days[1:], strict=False):
        assert one.end_ms == following.start_ms
    assert zone_of("UTC") is dt.UTC


@pytest.mark.parametrize(
    ("month", "zone", "param"),
    [
        *(
            (text, "UTC", "month")
            for text in ("2026", "2026-13", "2026-00", "26-11", "2026-11-01", "9999-12", "0000-01")
        ),
        *(("2026-11", zone, "zone") for zone in ("Mars/Olympus", "", "../../etc/passwd", "+99:00", "UTC\0")),
    ],
)
def test_what_is_no_month_or_zone_is_refused_by_name(month: str, zone: str, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        month_of(month, zone)
    assert caught.value.param == param


def test_csv_and_json_say_the_same(kept: StoredHouse) -> None:
    found = made(kept, "2026-11")
    shown = statement_to_json(found)
    rows = list(csv.DictReader(io.StringIO(statement_to_csv(found))))
    kinds = [row["kind"] for row in rows]
    assert kinds == sorted(kinds, key=["opening", "usage", "correction", "credit", "total", "paid_in", "closing"].index)
    lines = [row for row in rows if row["kind"] == "usage"]
    assert [(row["day"], row["key"], row["cost"], row["input"]) for row in lines] == [
        (line["day"], line["key"], line["cost"], str(line["input"])) for line in shown["lines"]
    ]
    closing = {row["currency"]: row["cost"] for row in rows if row["kind"] == "closing"}
    assert closing == {one["currency"]: one["closing"] for one in shown["totals"]}


def test_no_text_of_a_csv_is_a_formula(kept: StoredHouse) -> None:
    rows = list(csv.DictReader(io.StringIO(statement_to_csv(made(kept, "2026-11")))))
    corrected = [row for row in rows if row["kind"] == "correction"]
    assert corrected
    assert {(row["reason"], row["author"]) for row in corrected} == {("'=HYPERLINK(1)", "'@olga")}
    for row in rows:
        for name in ("key", "model", "reason", "author", "id"):
            assert not row[name].startswith(("=", "+", "-", "@"))
    assert [cell(text) for text in ("+1", "-1", "\t=1", "a=1")] == ["'+1", "'-1", "'\t=1", "a=1"]
