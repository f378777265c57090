"""Prices that are kept in the database: rows that the operator set beside the file, a seed in place of the package's
own, and every price that was ever billed with.

A running server asks `changed` every half second, in a thread, and hands what it gets to its price book in the loop.
Above: the control plane, the command line. Below: storage.
"""

import datetime as dt
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, get_args

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, delete, func, insert, select

from posthouse.billing.harvest.compare import Change, changes
from posthouse.billing.overrides import Override, read_override
from posthouse.billing.seed import MAX_BYTES, Seed, SeedPrice, SeedProvider
from posthouse.billing.units import SOLD_BY
from posthouse.core.errors import ConfigError, InvalidRequest, NotFound
from posthouse.core.ids import IdMaker
from posthouse.core.money import parse_nano
from posthouse.settings.model import Amount, PriceSettings, TierSettings
from posthouse.storage.database import Database
from posthouse.storage.revisions import bump, read
from posthouse.storage.tables import price_rows, price_seeds, price_snapshots

ROOM: Final = "prices"
_CURRENT: Final = "current"
_MOST_ROWS: Final = 10_000
_AMOUNTS: Final = frozenset(
    field.name
    for table in (PriceSettings, TierSettings)
    for field in msgspec.structs.fields(table)
    if Amount in get_args(field.type)
)


class SetPrice(Struct, frozen=True):
    """A row that was set: `body` has what was said, as in [[prices]]; `created_at` in ms since the epoch."""

    id: str
    body: Mapping[str, Any]
    created_at: int


class Kept(Struct, frozen=True):
    """What the database says at a revision; `seed` None is the package's own."""

    revision: int
    rows: tuple[Override, ...]
    seed: Seed | None


class PriceDesk:
    """Its verbs block: call them in a thread. `clock` gives seconds since the epoch."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        self._make_id = IdMaker(clock).make
        self._seen = -1

    def kept(self) -> Kept:
        with self._database.read() as connection:
            revision = read(connection).get(ROOM, 0)
            rows = tuple(read_override(0, _table(one.body), "set", one.id) for one in _rows(connection))
            data = connection.execute(select(price_seeds.c.data).where(price_seeds.c.name == _CURRENT)).scalar()
        return Kept(revision, rows, None if data is None else Seed(data=bytes(data)))

    def changed(self) -> Kept | None:
        """What holds now, if that is other than at the last call."""
        with self._database.read() as connection:
            revision = read(connection).get(ROOM, 0)
        if revision == self._seen:
            return None
        found = self.kept()
        self._seen = found.revision
        return found

    # Rows

    def rows(self) -> list[SetPrice]:
        """The oldest first."""
        with self._database.read() as connection:
            return list(_rows(connection))

    def set(self, body: Any) -> SetPrice:
        """Adds a row: a [[prices]] table as JSON. InvalidRequest names the member that cannot stand."""
        table = _table(body)
        try:
            read_override(0, table, "set")
        except ConfigError as error:
            words = error.message.replace("prices[0].", "").replace("prices[0]", "the price")
            raise InvalidRequest(f"{words}.") from None
        made = SetPrice(self._make_id("set"), body, int(self._clock() * 1000))
        with self._database.write() as connection:
            if connection.execute(select(func.count()).select_from(price_rows)).scalar_one() >= _MOST_ROWS:
                raise InvalidRequest(f"There are {_MOST_ROWS} prices already; take some away first.")
            text = msgspec.json.encode(body).decode()
            connection.execute(insert(price_rows).values(id=made.id, body=text, created_at=made.created_at))
            bump(connection, ROOM)
        return made

    def unset(self, id: str) -> SetPrice:
        """Takes a row away. What was billed by it keeps its snapshot."""
        with self._database.write() as connection:
            found = connection.execute(select(price_rows).where(price_rows.c.id == id)).first()
            if found is None:
                raise NotFound("There is no price with this id.")
            connection.execute(delete(price_rows).where(price_rows.c.id == id))
            bump(connection, ROOM)
        return SetPrice(found.id, msgspec.json.decode(found.body), found.created_at)

    def snapshot(self, id: str) -> dict[str, Any]:
        """A price that was billed with, as it was then."""
        with self._database.read() as connection:
            body = connection.execute(select(price_snapshots.c.body).where(price_snapshots.c.id == id)).scalar()
        if body is None:
            raise NotFound("No request was billed with a price of this id.")
        found: dict[str, Any] = msgspec.json.decode(body)
        return found

    # The seed

    def differs(self, new: Seed) -> list[Change]:
        """What a new seed would change."""
        old = self.kept().seed or Seed()
        return list(changes(old, new, dt.datetime.fromtimestamp(self._clock(), dt.UTC)))

    def replace_seed(self, new: bytes | None) -> None:
        """Puts a seed in place of the one that holds; None is the package's own again."""
        if new is not None:
            checked(new)
        with self._database.write() as connection:
            connection.execute(delete(price_seeds).where(price_seeds.c.name == _CURRENT))
            if new is not None:
                row = {"name": _CURRENT, "data": new, "created_at": int(self._clock() * 1000)}
                connection.execute(insert(price_seeds).values(row))
            bump(connection, ROOM)


def checked(data: bytes) -> Seed:
    """A seed of which every provider can be read. InvalidRequest where it is none."""
    if len(data) > MAX_BYTES:
        raise InvalidRequest("The price seed is larger than 8 MiB.")
    seed = Seed(data=data)
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    try:
        for name, raw in seed.file.providers.items():
            found = msgspec.json.decode(raw, type=SeedProvider)
            for model in (*found.models, *found.more.values()):
                if model.prices:
                    seed.price(model, seed.sources[model.source], now)
                for row in model.prices:
                    row.active(now)  # its hours make sense
                    if _negative(row):
                        raise ValueError(f"a price of {name}/{model.id} is negative")
    except (msgspec.MsgspecError, KeyError, IndexError, TypeError, ValueError, UnicodeError) as error:
        raise InvalidRequest(f"This is no price seed: {error}.") from None
    return seed


def _negative(row: SeedPrice) -> bool:
    amounts = [*row.rates.values(), *(rate for tier in row.tiers for rate in tier.rates.values())]
    if row.units is not None:
        amounts += [getattr(row.units, name) for name in SOLD_BY]
        amounts += row.units.image_kinds.values()
    return row.per_request < 0 or any(amount < 0 for amount in amounts)


def _rows(connection: Connection) -> Iterator[SetPrice]:
    for row in connection.execute(select(price_rows).order_by(price_rows.c.id)):
        yield SetPrice(row.id, msgspec.json.decode(row.body), row.created_at)


def _table(body: Any) -> PriceSettings:
    """A [[prices]] table of JSON. InvalidRequest names the member."""
    if not isinstance(body, dict):
        raise InvalidRequest("A price is an object with the keys of [[prices]].")
    _known(body, PriceSettings, "")
    for tier in body.get("tiers") or () if isinstance(body.get("tiers"), list) else ():
        if isinstance(tier, dict):
            _known(tier, TierSettings, "tiers.")
    try:
        return msgspec.convert(body, PriceSettings)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        param = where.rstrip("`") or None
        raise InvalidRequest(f"`{param or 'price'}`: {what}.", param=param) from None


def _known(body: Mapping[str, Any], kind: type[PriceSettings] | type[TierSettings], below: str) -> None:
    for name, value in body.items():
        where = f"{below}{name}"[:100]
        if name not in kind.__struct_fields__:
            raise InvalidRequest(f"Unknown member `{where}`.", param=where)
        amounts = list(value.values()) if isinstance(value, dict) else [value] if name in _AMOUNTS else []
        for amount in amounts:
            if isinstance(amount, str):
                try:
                    parse_nano(amount)
                except ValueError as error:
                    raise InvalidRequest(f"`{where}`: {error}.", param=where) from None
