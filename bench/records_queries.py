"""Everything that the control plane asks of records, the ledger, keys and accounts: each route with its filters, first
pages and deep ones, and what is made of the rows. What needs no table of theirs is not here."""

import datetime as dt
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import Any, Final

from msgspec import Struct
from sqlalchemy import Connection, func, select

from bench.records_house import BUSY_KEYS, DAY_MS, END_MS, account_of, key_of
from posthouse.accounts import store as owners
from posthouse.accounts.forms import account_to_json, key_to_json
from posthouse.accounts.model import Page as OwnersPage
from posthouse.accounts.service import Directory
from posthouse.billing.book_forms import correction_to_json, statement_to_csv, statement_to_json
from posthouse.billing.corrections import CorrectionDesk
from posthouse.billing.dashboard import usage_of_key
from posthouse.billing.forms import detail_to_json, entry_to_json, request_to_json, usage_to_json
from posthouse.billing.span import Span
from posthouse.billing.statements import month_of, statement
from posthouse.billing.store import (
    GROUPS,
    GroupBy,
    Page,
    RequestFilter,
    list_entries,
    list_requests,
    request_detail,
    usage,
)
from posthouse.gateway.explain import limits_of
from posthouse.storage.database import Database
from posthouse.storage.tables import requests

HOUR_MS: Final = 3_600_000
NOW: Final = END_MS / 1000
STATEMENTS: Final = "statement"
Ask = Callable[[Connection], object]


class Query(Struct, frozen=True):
    """`kind` is its row in the table, `name` says which it is."""

    kind: str
    name: str
    ask: Ask


class House(Struct, frozen=True):
    """What is asked for: the records are from `begin` to `end`, and there is one in the middle."""

    database: Database
    directory: Directory
    begin: int
    end: int
    middle: str

    @property
    def half(self) -> int:
        return (self.begin + self.end) // 2


def house_of(database: Database) -> House:
    with database.read() as connection:
        times = select(func.min(requests.c.created_at), func.max(requests.c.created_at))
        begin, end = connection.execute(times).one()
        half = f"req_{(begin + end) // 2:012x}"
        found = select(requests.c.id).where(requests.c.id >= half).order_by(requests.c.id).limit(1)
        middle = connection.execute(found).scalar_one()
    return House(database, Directory(database), begin, end + 1, middle)


def queries(house: House) -> Iterator[Query]:
    yield from _requests(house)
    yield from _details(house)
    yield from _usage(house)
    yield from _entries(house)
    yield from _owners(house)
    yield from _dashboard(house)
    yield from _statements()


def _requests(house: House) -> Iterator[Query]:
    """Every combination of filters, with values that match much, little and nothing."""
    own = account_of(5)  # key 5's
    values: dict[str, tuple[Any, ...]] = {
        "key_id": (None, key_of(5)),
        "account_id": (None, own, account_of(3)),
        "model": (None, "large", "rare"),
        "status": (None, 502, 418),
        "within": (None, account_of(0), own),
        "span": (Span(), Span(house.half, house.half + DAY_MS)),
    }
    early = f"req_{house.begin + (house.end - house.begin) // 10:012x}"
    for chosen in product(*values.values()):
        named = dict(zip(values, chosen, strict=True))
        given = [name for name, one in named.items() if one not in (None, Span())]
        for depth, cursor in (("first", None), ("deep", early)):
            kind = f"requests, {depth} page: {len(given)} filters" if given else f"requests, {depth} page"
            shown = " ".join(f"{name}={_told(named[name])}" for name in given)
            yield Query(kind, shown, partial(_listed, RequestFilter(**named), Page(100, cursor)))
    yield Query("requests, a page of 1,000", "", partial(_listed, RequestFilter(), Page(1_000)))


def _told(value: Any) -> str:
    return f"{value.start_ms}-{value.end_ms}" if isinstance(value, Span) else str(value)


def _listed(chosen: RequestFilter, page: Page, connection: Connection) -> object:
    rows, following = list_requests(connection, chosen, page)
    return [request_to_json(row) for row in rows], following


def _details(house: House) -> Iterator[Query]:
    def detail(connection: Connection) -> object:
        found = request_detail(connection, house.middle)
        assert found is not None
        return detail_to_json(found)

    def explained(connection: Connection) -> object:
        found = request_detail(connection, house.middle)
        assert found is not None
        return limits_of(found, house.directory, NOW)

    yield Query("requests/{id}", "", detail)
    yield Query("requests/{id}/explain", "", explained)


def _usage(house: House) -> Iterator[Query]:
    """Each grouping, of spans with whole units and with edges in the middle of an hour; of the house, a team, one
    account."""
    hour = house.half // HOUR_MS * HOUR_MS
    day = house.half // DAY_MS * DAY_MS
    month = house.end // DAY_MS * DAY_MS - 29 * DAY_MS
    odd = 29 * 60_000 + 777
    spans = {
        "an hour": Span(hour, hour + HOUR_MS),
        "an odd hour": Span(hour + odd, hour + odd + HOUR_MS),
        "a day": Span(day, day + DAY_MS),
        "the last day": Span(house.end - DAY_MS, None),
        "an odd day": Span(day + 11 * HOUR_MS + odd, day + DAY_MS + 12 * HOUR_MS + odd),
        "a month": Span(month, month + 30 * DAY_MS),
        "an odd month": Span(month + 11 * HOUR_MS + odd, house.end - 12 * HOUR_MS + odd),
        "all": Span(),
        "nearly all": Span(house.begin + 7 * DAY_MS + 12 * HOUR_MS + odd, house.end - 6 * DAY_MS - 11 * HOUR_MS - odd),
    }
    callers = {
        "": None,
        ", of the root": account_of(0),
        ", of a team": account_of(2),
        ", of one account": account_of(5),
    }
    for by, (name, span), (whose, within) in product(GROUPS, spans.items(), callers.items()):
        yield Query(f"usage by {by}{whose}", name, partial(_used, by, span, Page(100), within))
        if by in ("hour", "day", "key"):
            yield Query(f"usage by {by}{whose}", f"{name}, 1,000 rows", partial(_used, by, span, Page(1_000), within))
            cursor = key_of(BUSY_KEYS // 2) if by == "key" else _instant(by, house.half)
            yield Query(f"usage by {by}{whose}", f"{name}, deep", partial(_used, by, span, Page(100, cursor), within))


def _instant(by: str, ms: int) -> str:
    day = dt.datetime.fromtimestamp(ms // DAY_MS * DAY_MS // 1000, dt.UTC)
    return day.strftime("%Y-%m-%d" if by == "day" else "%Y-%m-%dT%H:%MZ")


def _used(by: GroupBy, span: Span, page: Page, within: str | None, connection: Connection) -> object:
    rows, following = usage(connection, by, span, page, within)
    return [usage_to_json(row, by) for row in rows], following


def _entries(house: House) -> Iterator[Query]:
    names = {
        "": None,
        "of an account": f"account:{account_of(3)}",
        "of a provider": "provider:main",
        "of the house": "house:corrections",
        "of nobody": "account:nobody",
    }
    deep = f"req_{house.begin + (house.end - house.begin) // 10:012x}0.1"
    for (name, ledger_account), (depth, cursor) in product(names.items(), (("first", None), ("deep", deep))):
        yield Query("ledger", f"{depth} page {name}", partial(_legs, ledger_account, Page(100, cursor)))
    yield Query("ledger", "1,000 rows", partial(_legs, None, Page(1_000)))
    desk = CorrectionDesk(house.database)
    for name, page in (("first page", Page(100)), ("1,000 rows", Page(1_000))):
        yield Query(
            "accounts/{account}/corrections",
            name,
            partial(_corrected, desk, page),
        )


def _corrected(desk: CorrectionDesk, page: Page, _: Connection) -> object:
    return [correction_to_json(one) for one in desk.listed(account_of(3), page)[0]]


def _legs(ledger_account: str | None, page: Page, connection: Connection) -> object:
    rows, following = list_entries(connection, ledger_account, page)
    return [entry_to_json(row) for row in rows], following


def _owners(house: House) -> Iterator[Query]:
    pages = (
        ("first page", OwnersPage(100)),
        ("deep", OwnersPage(100, key_of(2_000))),
        ("1,000 rows", OwnersPage(1_000)),
    )
    for name, page in pages:
        for whose, within, own in (
            ("", None, None),
            (" under the root", account_of(0), None),
            (" under a team", account_of(2), None),
            (" of an account", None, account_of(5)),
        ):
            yield Query("keys", f"{name}{whose}", partial(_keys, page, within, own))
    pages = (*pages[::2], ("deep", OwnersPage(100, account_of(400))))
    for name, page in pages:
        for whose, within in (("", None), (" under the root", account_of(0)), (" under a team", account_of(2))):
            yield Query("accounts", f"{name}{whose}", partial(_accounts, page, within))
    directory = house.directory
    yield Query("keys/{key}", "", lambda _: key_to_json(directory.get_key(key_of(5_000)), NOW))
    one = account_of(1_500)
    yield Query(
        "accounts/{account}", "", lambda _: account_to_json(directory.get_account(one), directory.place_of(one, None))
    )


def _keys(page: OwnersPage, within: str | None, account_id: str | None, connection: Connection) -> object:
    return [key_to_json(key, NOW) for key in owners.list_keys(connection, page, within, account_id).items]


def _accounts(page: OwnersPage, within: str | None, connection: Connection) -> object:
    return [account_to_json(one) for one in owners.list_accounts(connection, page, within).items]


def _dashboard(house: House) -> Iterator[Query]:
    last = house.end // DAY_MS * DAY_MS
    spans = {"always": Span(), "100 days": Span(last - 100 * DAY_MS, last), "a year": Span(last - 366 * DAY_MS, last)}
    for (name, span), key in product(spans.items(), (5, 0, 9_999)):
        yield Query("dashboard/billing/usage", f"key {key}, {name}", partial(_balance, key_of(key), span))


def _balance(key_id: str, span: Span, connection: Connection) -> object:
    return usage_of_key(connection, key_id, span, None)


def _statements() -> Iterator[Query]:
    for zone, account in product(("UTC", "Asia/Shanghai", "Asia/Kolkata"), (3, 1)):
        yield Query(f"{STATEMENTS}, {zone}", f"account {account}", partial(_stated, account_of(account), zone))


def _stated(account_id: str, zone: str, connection: Connection) -> object:
    found = statement(connection, account_id, month_of("2026-11", zone))
    return statement_to_csv(found), statement_to_json(found)
