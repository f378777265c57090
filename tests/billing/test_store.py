"""What is asked of the ledger, the same on both databases."""

from collections.abc import Callable
from itertools import combinations
from typing import Any

import pytest
from sqlalchemy import insert

from posthouse.billing.forms import request_to_json, usage_to_json
from posthouse.billing.model import Settlement
from posthouse.billing.span import Span
from posthouse.billing.store import (
    GROUPS,
    UNITS,
    GroupBy,
    HoldRecord,
    Page,
    RequestFilter,
    UsageRow,
    list_entries,
    list_requests,
    request_detail,
    usage,
)
from posthouse.core.errors import InvalidRequest
from posthouse.core.usage import Usage
from posthouse.storage.database import Database
from posthouse.storage.rows import RequestRow
from posthouse.storage.tables import accounts
from tests.billing.fakes import NOW, PRICE, caller
from tests.billing.stored import StoredHouse

DAY = 86_400_000
START = int(NOW * 1000)


def pages(database: Database, listing: Callable[[Any, Page], tuple[list[Any], str | None]], limit: int) -> list[Any]:
    """Everything that a listing gives, page by page."""
    rows: list[Any] = []
    cursor = None
    while True:
        with database.read() as connection:
            page, cursor = listing(connection, Page(limit, cursor))
        rows += page
        assert len(rows) < 10_000
        if cursor is None:
            return rows


@pytest.fixture
def kept(stored: StoredHouse) -> StoredHouse:
    """Ten requests of two keys over three days, one of them refused by the provider, one unpriced, one in yuan."""
    yuan = type(PRICE)("CNY", "test", "m", PRICE.rates)
    for number in range(7):
        stored.settle(stored.hold(caller(name=str(number % 2))), 10 + number)
        stored.clock.now += 24_000
    stored.settle(stored.hold(caller(name="1"), 10, "CNY"), 5, yuan)
    stored.settle(stored.hold(caller(name="0"), None), 3, None)
    stored.release(stored.hold(caller(name="0")))
    stored.save()
    return stored


def test_usage_by_key_adds_up_for_each_currency(kept: StoredHouse) -> None:
    with kept.database.read() as connection:
        rows, cursor = usage(connection, "key")
    assert cursor is None
    assert rows == [
        UsageRow("key_0", 6, 10 + 12 + 14 + 16 + 3, 0, 0, 52, "USD", {"none": 1, "provider": 5}),
        UsageRow("key_1", 1, 5, 0, 0, 5, "CNY", {"provider": 1}),
        UsageRow("key_1", 3, 11 + 13 + 15, 0, 0, 39, "USD", {"provider": 3}),
    ]


def test_usage_by_day_is_cut_by_utc_and_shows_dates(kept: StoredHouse) -> None:
    with kept.database.read() as connection:
        rows, _ = usage(connection, "day")
    assert [(row.group, row.requests) for row in rows if row.currency == "USD"] == [
        ("2026-11-20", 2),
        ("2026-11-21", 4),
        ("2026-11-22", 1),
    ]


@pytest.mark.parametrize("group_by", GROUPS)
def test_every_grouping_counts_every_request_once(group_by: GroupBy, kept: StoredHouse) -> None:
    with kept.database.read() as connection:
        rows, _ = usage(connection, group_by)
    assert sum(row.requests for row in rows) == 10
    assert sum(row.cost for row in rows if row.currency == "USD") == 91
    assert sum(row.input_tokens for row in rows) == 99
    assert sum(sum(row.by_source.values()) for row in rows) == 10


@pytest.mark.parametrize("group_by", GROUPS)
def test_usage_is_paged_by_whole_groups(group_by: GroupBy, kept: StoredHouse) -> None:
    with kept.database.read() as connection:
        whole, _ = usage(connection, group_by)
    assert pages(kept.database, lambda connection, page: usage(connection, group_by, page=page), 1) == whole


def test_usage_of_a_span_includes_its_start_and_not_its_end(kept: StoredHouse) -> None:
    with kept.database.read() as connection:
        rows, _ = usage(connection, "account", Span(START + 24_000_000, START + 72_000_000))
    assert [(row.group, row.requests, row.cost) for row in rows] == [("acc_1", 2, 23)]


def test_classes_of_usage_are_summed_as_openai_counts_them(stored: StoredHouse) -> None:
    hold = stored.hold(caller())
    stored.settle(hold, 1)
    other = stored.hold(caller())
    classes = Usage(1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
    cost = stored.settle(other, 1)
    stored.journal.waiting.pop()
    stored.record(other, cost, classes)
    stored.save()
    with stored.database.read() as connection:
        row = usage(connection, "account")[0][0]
        record = request_detail(connection, other.id)
    assert (row.input_tokens, row.cached_input_tokens) == (1 + classes.total_input, 2)
    assert record is not None and record.request is not None
    assert record.request.cache_write_1h == 8


def test_units_are_summed_beside_tokens_and_shown_with_their_kind(stored: StoredHouse) -> None:
    for used in (Usage(images=2, image_kind="1024x1024/high"), Usage(input=5, audio_ms=1_500), Usage(searches=3)):
        hold = stored.hold(caller())
        stored.record(hold, hold.settle(Settlement(used, "provider", PRICE, "main")), used)
    stored.settle(stored.hold(caller()), 7)
    stored.save()
    with stored.database.read() as connection:
        (row,) = usage(connection, "model")[0]
        records, _ = list_requests(connection)
    assert (row.images, row.audio_ms, row.characters, row.searches, row.input_tokens) == (2, 1_500, 0, 3, 12)
    shown = usage_to_json(row, "model")
    assert [shown[name] for name in UNITS] == [2, 1_500, 0, 3, 0, 0, 0]
    told = [request_to_json(record)["usage"] for record in records]
    assert [one["image_kind"] for one in told] == [None, None, None, "1024x1024/high"]
    assert [one["images"] for one in told] == [0, 0, 0, 2]
    stored.assert_sound()


def test_requests_are_listed_newest_first_and_page_by_page(kept: StoredHouse) -> None:
    with kept.database.read() as connection:
        rows, cursor = list_requests(connection)
    assert cursor is None
    assert all(isinstance(row, RequestRow) for row in rows)
    ids = [row.id for row in rows]
    assert len(ids) == 10
    assert ids == sorted(ids, reverse=True)
    for limit in (1, 3, 5, 10):
        paged = pages(kept.database, lambda connection, page: list_requests(connection, page=page), limit)
        assert paged == rows


@pytest.mark.parametrize(
    ("chosen", "number"),
    [
        (RequestFilter(key_id="key_0"), 6),
        (RequestFilter(account_id="acc_1"), 10),
        (RequestFilter(account_id="acc_2"), 0),
        (RequestFilter(model="m"), 10),
        (RequestFilter(model="m-of-key_1"), 4),
        (RequestFilter(status=502), 1),
        (RequestFilter(key_id="key_0", status=200), 5),
        (RequestFilter(span=Span(START, START + 1)), 1),
        (RequestFilter(span=Span(end_ms=START)), 0),
    ],
)
def test_requests_are_filtered_the_same_on_every_page(chosen: RequestFilter, number: int, kept: StoredHouse) -> None:
    found = pages(kept.database, lambda connection, page: list_requests(connection, chosen, page), 2)
    assert len(found) == number


def test_one_request_is_shown_with_its_hold_and_entries(kept: StoredHouse) -> None:
    with kept.database.read() as connection:
        first = list_requests(connection)[0][-1]
        detail = request_detail(connection, first.id)
    assert detail is not None
    assert detail.request == first
    assert detail.hold == HoldRecord(
        first.id, "key_0", "acc_1", "m", 10, "USD", "settled", START, START, 10, "complete"
    )
    assert [(leg.ledger_account, leg.amount, leg.currency, leg.usage_source) for leg in detail.entries] == [
        ("account:acc_1", 10, "USD", "provider"),
        ("provider:main", -10, "USD", "provider"),
    ]


def test_a_request_that_a_crash_took_is_shown_by_its_hold(stored: StoredHouse) -> None:
    hold = stored.hold(caller())
    stored.journal.flush()
    stored.restart()
    with stored.database.read() as connection:
        detail = request_detail(connection, hold.id)
        assert request_detail(connection, "req_unknown") is None
    assert detail is not None and detail.hold is not None
    assert (detail.request, detail.hold.state, detail.entries) == (None, "expired", ())


def test_entries_are_listed_newest_first_and_page_by_page(kept: StoredHouse) -> None:
    with kept.database.read() as connection:
        rows, cursor = list_entries(connection)
        account, _ = list_entries(connection, "account:acc_1")
    assert cursor is None
    assert len(rows) == 16
    assert sum(row.amount for row in rows) == 0
    assert [row.leg for row in rows] == [1, 0] * 8
    assert sum(row.amount for row in account) == 96
    for limit in (1, 3, 16):
        assert pages(kept.database, lambda connection, page: list_entries(connection, page=page), limit) == rows


def test_a_cursor_that_is_none_of_ours_is_bad_input(kept: StoredHouse) -> None:
    with kept.database.read() as connection:
        for cursor in ("", "x", "x.2", ".0"):
            with pytest.raises(InvalidRequest):
                list_entries(connection, page=Page(cursor=cursor))
        with pytest.raises(InvalidRequest):
            usage(connection, "day", page=Page(cursor="yesterday"))


@pytest.mark.parametrize("limit", [-5, 0, 1_000_000])
def test_a_page_has_bounds(limit: int) -> None:
    assert 1 <= Page(limit).size <= 1000


def test_records_of_all_below_an_account_are_listed_by_any_other_filter_too(kept: StoredHouse) -> None:
    with kept.database.write() as connection:
        connection.execute(insert(accounts).values(id="acc_root", name="root", created_at=1))
        connection.execute(insert(accounts).values(id="acc_1", name="one", created_at=1, parent_id="acc_root"))
        connection.execute(insert(accounts).values(id="acc_other", name="other", created_at=1))
    filters: dict[str, Any] = {"key_id": "key_0", "account_id": "acc_1", "model": "m", "span": Span(START, START + DAY)}
    with kept.database.read() as connection:
        for number in range(len(filters) + 1):
            for names in combinations(filters, number):
                given = {name: filters[name] for name in names}
                every, _ = list_requests(connection, RequestFilter(**given))
                assert every
                assert list_requests(connection, RequestFilter(**given, within="acc_root"))[0] == every
                assert list_requests(connection, RequestFilter(**given, within="acc_other")) == ([], None)
        assert list_requests(connection, RequestFilter(key_id="key_0", account_id="acc_other")) == ([], None)
