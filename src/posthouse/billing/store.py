"""What is asked of the ledger: usage in groups (from roll-ups), records of requests, entries. For both databases.

Every listing is paged by keys, newest first: ids sort by time (core/ids.py), so a page is a range of the primary key
and costs the same however old the table is. Call these in a thread, with a connection of `Database.read()`.
"""

import datetime as dt
from collections.abc import Callable, Iterable
from itertools import groupby, product
from typing import Any, Final, TypeVar

from msgspec import Struct
from sqlalchemy import ColumnElement, Connection, Row, func, literal_column, select

from posthouse.billing.span import Span, id_range
from posthouse.billing.sums import UNKNOWN_MODEL as UNKNOWN_MODEL
from posthouse.billing.sums import Asked, usage_rows
from posthouse.billing.sums import GroupBy as GroupBy
from posthouse.core.errors import InvalidRequest
from posthouse.core.usage import UsageSource
from posthouse.storage.rows import RequestRow
from posthouse.storage.tables import OTHER_NAME, RARE_STATUS, SUMMED, entries, holds, requests, usage_days
from posthouse.storage.trees import asking, subtree

MOST_HOURS: Final = 400  # on a page of usage by hour: each is added up from as many rows as there are accounts
UNITS: Final = ("images", "audio_ms", "characters", "searches", "web_searches", "file_searches", "sessions")
GROUPS: Final[tuple[GroupBy, ...]] = ("key", "model", "hour", "day", "provider", "deployment", "account")
MAX_PAGE: Final = 1000
HTTP_OK: Final = 200
_FEW_ACCOUNTS: Final = 30
_FEW_RECORDS: Final = 5_000  # looked at one by one in 10 ms
T = TypeVar("T")

_NO_SOURCE: Final = "none"
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class Page(Struct, frozen=True):
    """`cursor` is what the page before gave as its `next`; `limit` rows at most (1 to MAX_PAGE)."""

    limit: int = 100
    cursor: str | None = None

    @property
    def size(self) -> int:
        return min(max(self.limit, 1), MAX_PAGE)


class RequestFilter(Struct, frozen=True):
    """None matches all. `model` is the public name that was asked for or that answered. `within`: of an account and all
    below it."""

    key_id: str | None = None
    account_id: str | None = None
    model: str | None = None
    status: int | None = None
    span: Span = Span()
    within: str | None = None


ALWAYS: Final = Span()
FIRST_PAGE: Final = Page()
ALL_REQUESTS: Final = RequestFilter()


class UsageRow(Struct, frozen=True):
    """What a group consumed. `input_tokens` includes `cached_input_tokens`, as OpenAI counts; `cost` is nano-units.

    A group that was charged in several currencies has a row for each; requests without a price or a cost are part of
    its only row, or have a row of their own (`currency` None) where it has several or none. `by_source` counts requests
    by who counted, `none` where there was nothing. What is no token is summed for itself; `audio_ms` is milliseconds.
    """

    group: str
    requests: int
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    cost: int
    currency: str | None
    by_source: dict[str, int]
    images: int = 0
    audio_ms: int = 0
    characters: int = 0
    searches: int = 0
    web_searches: int = 0
    file_searches: int = 0
    sessions: int = 0


class EntryRow(Struct, frozen=True):
    """One leg of a transfer, in nano-units; a debit of the account is positive."""

    hold_id: str
    leg: int
    ledger_account: str
    amount: int
    currency: str
    usage_source: UsageSource | None
    created_at: int


class HoldRecord(Struct, frozen=True):
    """A hold and its end; instants in ms since the epoch, money in nano-units."""

    id: str
    key_id: str
    account_id: str
    model: str
    amount: int | None
    currency: str | None
    state: str
    created_at: int
    ended_at: int | None
    charged: int | None
    reason: str | None
    owner: str | None = None


class RequestDetail(Struct, frozen=True):
    """All that is known of one request. `request` is None where its process died before it could be recorded."""

    request: RequestRow | None
    hold: HoldRecord | None
    entries: tuple[EntryRow, ...]


def usage(
    connection: Connection,
    group_by: GroupBy,
    span: Span = ALWAYS,
    page: Page = FIRST_PAGE,
    within: str | None = None,
) -> tuple[list[UsageRow], str | None]:
    """Usage by group in the order of the groups' names (hours and days: oldest first), and the next cursor or None.

    A page holds whole groups: `limit` of them (of hours MOST_HOURS at most), whatever the number of their currencies.
    Corrections are a model and a provider of that name.
    """
    size = min(page.size, MOST_HOURS) if group_by == "hour" else page.size
    after = None if page.cursor is None else _cursor_of(group_by, page.cursor)
    asked = Asked(group_by, span, size, within, after)
    return _usage_page(usage_rows(connection, asked), group_by, size)


def list_requests(
    connection: Connection, chosen: RequestFilter = ALL_REQUESTS, page: Page = FIRST_PAGE
) -> tuple[list[RequestRow], str | None]:
    """Records, newest first, and the next cursor or None."""
    conditions: list[ColumnElement[bool]] = _within(chosen.span)
    rare = chosen.model is not None and _is_rare(connection, chosen.model)
    for column, value in ((requests.c.key_id, chosen.key_id), (requests.c.account_id, chosen.account_id)):
        if value is not None:
            # By the index of the model, where it has few: all that a key ever did may be a thousand times as much.
            conditions.append((column.concat("") if rare else column) == value)
    if chosen.status is not None:
        conditions.append(requests.c.status == chosen.status)
        if chosen.status != HTTP_OK:
            conditions.append(literal_column(RARE_STATUS))  # as the index says it, or it is not taken
    if page.cursor is not None:
        conditions.append(requests.c.id < page.cursor)
    query = select(requests).where(*conditions)
    ways = [own for own in (_owned(connection, chosen), _named(chosen)) if own is not None]
    if ways:
        # Each has an index of its own, in the order of the ids; asked for all at once, PostgreSQL sorts them all.
        found: set[str] = set()
        for way in product(*ways):
            ids = select(requests.c.id).where(*way, *conditions).order_by(requests.c.id.desc()).limit(page.size + 1)
            found.update(connection.execute(ids).scalars())
        query = select(requests).where(requests.c.id.in_(sorted(found)[-page.size - 1 :]))
    query = query.order_by(requests.c.id.desc()).limit(page.size + 1)
    rows = [_request_row(row) for row in connection.execute(query)]
    return cut(rows, page.size, lambda row: row.id)


def _is_rare(connection: Connection, model: str) -> bool:
    """Whether few records have this name of a model."""
    asked, other = requests.c.model_asked == model, literal_column(OTHER_NAME) == model
    some = [select(requests.c.id).where(one).limit(_FEW_RECORDS).subquery() for one in (asked, other)]
    return all(connection.execute(select(func.count()).select_from(one)).scalar_one() < _FEW_RECORDS for one in some)


def _named(chosen: RequestFilter) -> list[ColumnElement[bool]] | None:
    """The ways to have a model's name; None where any will do."""
    if chosen.model is None:
        return None
    return [requests.c.model_asked == chosen.model, literal_column(OTHER_NAME) == chosen.model]


def _owned(connection: Connection, chosen: RequestFilter) -> list[ColumnElement[bool]] | None:
    """The accounts that a record may be of, one by one where they are few; None where any will do."""
    account_id = requests.c.account_id
    if chosen.key_id is not None and chosen.account_id is not None:
        # Of two that do not belong together nothing is found, however long it is looked for.
        both = (usage_days.c.key_id == chosen.key_id, usage_days.c.account_id == chosen.account_id)
        if connection.execute(select(usage_days.c.day).where(*both).limit(1)).first() is None:
            return []
    if chosen.within is None:
        return None
    below = subtree(chosen.within)
    if chosen.account_id is not None:
        inside = connection.execute(below.where(below.selected_columns.id == chosen.account_id)).first()
        return None if inside is not None else []
    few = asking(connection, chosen.within, _FEW_ACCOUNTS)
    if few is None:
        return [account_id.in_(below)]
    if chosen.key_id is None and chosen.model is None and chosen.span == Span():
        return [account_id == one for one in few]
    # By the index of what else is asked for: all that an account ever did may be a hundred times as much.
    return [account_id.concat("").in_(few)]


def request_detail(connection: Connection, request_id: str) -> RequestDetail | None:
    """One request with its hold and entries; None where neither a record nor a hold has this id."""
    record = connection.execute(select(requests).where(requests.c.id == request_id)).first()
    hold = connection.execute(select(holds).where(holds.c.id == request_id)).first()
    if record is None and hold is None:
        return None
    legs = connection.execute(select(entries).where(entries.c.hold_id == request_id).order_by(entries.c.leg))
    return RequestDetail(
        request=None if record is None else _request_row(record),
        hold=None if hold is None else HoldRecord(**hold._mapping),
        entries=tuple(EntryRow(**leg._mapping) for leg in legs),
    )


def list_entries(
    connection: Connection, ledger_account: str | None = None, page: Page = FIRST_PAGE
) -> tuple[list[EntryRow], str | None]:
    """Entries, newest hold first, and the next cursor or None. `ledger_account` is such as `account:<id>`."""
    query = select(entries).order_by(entries.c.hold_id.desc(), entries.c.leg.desc()).limit(page.size + 1)
    if ledger_account is not None:
        query = query.where(entries.c.ledger_account == ledger_account)
    if page.cursor is not None:
        hold_id, _, leg = page.cursor.rpartition(".")
        if not hold_id or leg not in ("0", "1"):
            raise InvalidRequest("This cursor is none of ours.", param="cursor")
        before = (entries.c.hold_id < hold_id) | ((entries.c.hold_id == hold_id) & (entries.c.leg < int(leg)))
        query = query.where(entries.c.hold_id <= hold_id, before)  # the first half finds the place in the key
    rows = [EntryRow(**row._mapping) for row in connection.execute(query)]
    return cut(rows, page.size, lambda row: f"{row.hold_id}.{row.leg}")


def _request_row(row: Row[Any]) -> RequestRow:
    return RequestRow(**row._mapping)


def cut(rows: list[T], size: int, cursor: Callable[[T], str]) -> tuple[list[T], str | None]:
    """A page of one row more than it shows knows whether there is a next one."""
    if len(rows) <= size:
        return rows, None
    return rows[:size], cursor(rows[size - 1])


def _within(span: Span) -> list[ColumnElement[bool]]:
    conditions = id_range(requests.c.id, span.start_ms, span.end_ms)
    if span.start_ms is not None:
        conditions.append(requests.c.created_at >= span.start_ms)
    if span.end_ms is not None:
        conditions.append(requests.c.created_at < span.end_ms)
    return conditions


def _usage_page(rows: Iterable[Row[Any]], group_by: GroupBy, size: int) -> tuple[list[UsageRow], str | None]:
    """Folds rows by group, currency and source, which come group after group, into rows by group and currency."""
    page: list[UsageRow] = []
    for number, (name, group) in enumerate(groupby(rows, key=lambda row: row.name)):
        if number == size:
            return page, page[-1].group
        shown = _name(group_by, name)
        page += _group_rows(shown, group)
    return page, None


def _group_rows(name: str, rows: Iterable[Row[Any]]) -> list[UsageRow]:
    by_currency: dict[str, list[Row[Any]]] = {}
    for row in rows:
        by_currency.setdefault(row.currency, []).append(row)
    priced = [currency for currency in by_currency if currency]
    if len(priced) == 1:
        by_currency = {priced[0]: [row for some in by_currency.values() for row in some]}
    result = []
    for currency in sorted(by_currency):
        members = by_currency[currency]
        sources: dict[str, int] = {}
        for row in members:
            if row.requests:
                source = row.usage_source or _NO_SOURCE
                sources[source] = sources.get(source, 0) + row.requests
        result.append(
            UsageRow(
                group=name,
                currency=currency or None,
                by_source=dict(sorted(sources.items())),
                **dict(zip(SUMMED, map(sum, zip(*(row[-len(SUMMED) :] for row in members), strict=True)), strict=True)),
            )
        )
    return result


def _name(group_by: GroupBy, group: Any) -> str:
    match group_by:
        case "day":
            return (_EPOCH + dt.timedelta(days=int(group))).date().isoformat()
        case "hour":
            return (_EPOCH + dt.timedelta(hours=int(group))).strftime("%Y-%m-%dT%H:%MZ")
        case _:
            return str(group)


def _cursor_of(group_by: GroupBy, text: str) -> str | int:
    try:
        match group_by:
            case "day":
                return (dt.date.fromisoformat(text) - _EPOCH.date()).days
            case "hour":
                return int(dt.datetime.fromisoformat(text).timestamp() // 3600)
            case _:
                return text
    except (ValueError, OverflowError):
        raise InvalidRequest("This cursor is none of ours.", param="cursor") from None
