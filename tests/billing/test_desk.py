"""Prices in the database, on SQLite and PostgreSQL: what is set, what is taken away, another seed."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import delete

from posthouse.billing.desk import PriceDesk, checked
from posthouse.billing.prices import PriceBook, PriceKey
from posthouse.billing.seed import Seed
from posthouse.core.errors import InvalidRequest, NotFound
from posthouse.storage.database import Database
from posthouse.storage.tables import price_rows, price_seeds
from tests.billing.fakes import NOW
from tests.billing.stored import opened

KEY = PriceKey("main", ("m",))
SEED: dict[str, Any] = {
    "sources": [{"source": "ours", "version": "1", "date": "2026-11-21", "license": "MIT", "url": "https://example"}],
    "currency": "USD",
    "providers": {"vendor": {"more": {"m": {"id": "m", "prices": [{"rates": {"input": 5}}]}}}},
}


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with opened(database_url) as found:
        with found.write() as connection:
            for table in (price_rows, price_seeds):
                connection.execute(delete(table))
        yield found


def seed(**changes: Any) -> bytes:
    return json.dumps(SEED | changes).encode()


def book_of(desk: PriceDesk) -> PriceBook:
    book = PriceBook()
    kept = desk.kept()
    book.use(kept.rows, kept.seed)
    return book


def test_a_price_that_is_set_holds_until_it_is_taken_away(database: Database) -> None:
    desk = PriceDesk(database, lambda: NOW)
    made = desk.set({"model": "m", "currency": "USD", "input": "0.15", "effective_from": "2026-11-01", "days": ["fri"]})
    price = book_of(desk).quote(KEY, NOW)
    assert price is not None
    assert (price.source, price.rates.input) == ("set", 150_000_000)
    assert [row.body for row in desk.rows()] == [made.body]
    assert desk.unset(made.id).body == made.body
    assert book_of(desk).quote(KEY, NOW) is None
    with pytest.raises(NotFound):
        desk.unset(made.id)


def test_a_price_that_is_set_goes_before_one_of_the_file_for_the_same(database: Database) -> None:
    desk = PriceDesk(database, lambda: NOW)
    desk.set({"model": "m", "currency": "USD", "input": "2"})
    desk.set({"model": "m", "multiplier": "3"})
    kept = desk.kept()
    book = PriceBook()
    book.use(kept.rows, None)
    price = book.quote(KEY, NOW)
    assert price is None or price.rates.input in (2 * 10**9, 6 * 10**9)
    steps = book.line(KEY).why(NOW)
    assert [step.place for step in steps if step.taken] == ["set"] * sum(step.taken for step in steps)


def test_another_process_learns_of_it_once(database: Database) -> None:
    here, there = PriceDesk(database), PriceDesk(database)
    assert there.changed() is not None
    assert there.changed() is None
    here.set({"model": "m", "currency": "USD", "input": "1"})
    found = there.changed()
    assert found is not None and [row.model for row in found.rows] == ["m"]
    assert there.changed() is None


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (None, None),
        ([], None),
        ({}, None),
        ({"model": "m", "currency": "USD"}, None),
        ({"model": "m", "currency": "usd", "input": "1"}, "currency"),
        ({"model": "m", "currency": "USD", "input": 1}, "input"),
        ({"model": "m", "currency": "USD", "input": "-1"}, "input"),
        ({"model": "m", "currency": "USD", "input": "1e99"}, "input"),
        ({"model": "m", "currency": "USD", "input": "0.0000000001"}, "input"),
        ({"model": "m", "currency": "USD", "input": "1", "colour": "red"}, "colour"),
        ({"model": "m", "currency": "USD", "input": "1", "tiers": [{"above": 5, "colour": "red"}]}, "tiers.colour"),
        ({"model": "m", "currency": "USD", "input": "1", "tiers": [{"above": 5, "input": "x"}]}, "tiers.input"),
        ({"model": "m", "currency": "USD", "image": "1", "image_kinds": {"low": "x"}}, "image_kinds"),
        ({"model": "m", "currency": "USD", "input": "1", "effective_from": "soon"}, "effective_from"),
        ({"model": "m", "currency": "USD", "input": "1", "daily_from": "25:00", "daily_until": "01:00"}, "daily_from"),
        ({"model": "m", "multiplier": "2", "input": "1"}, None),
    ],
)
def test_a_price_that_cannot_stand_is_refused_and_its_member_named(
    database: Database, body: Any, param: str | None
) -> None:
    desk = PriceDesk(database)
    with pytest.raises(InvalidRequest) as caught:
        desk.set(body)
    assert caught.value.param == param
    assert desk.rows() == []


def test_a_seed_takes_the_place_of_the_packages_own_and_goes_again(database: Database) -> None:
    desk = PriceDesk(database, lambda: NOW)
    key = PriceKey("main", ("m",), "vendor", ("m",))
    desk.replace_seed(seed())
    found = book_of(desk).quote(key, NOW)
    assert found is not None and found.rates.input == 5
    kinds = {change.kind for change in desk.differs(Seed())}
    assert kinds == {"new", "gone"}
    desk.replace_seed(None)
    assert book_of(desk).quote(key, NOW) is None
    assert desk.differs(Seed()) == []


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        seed(sources=[]),
        seed(providers={"v": 5}),
        seed(providers={"v": {"more": {"m": {"id": "m", "prices": [{"rates": {"input": "5"}}]}}}}),
        seed(providers={"v": {"more": {"m": {"id": "m", "prices": [{"rates": {"input": -5}}]}}}}),
        seed(
            providers={
                "v": {"more": {"m": {"id": "m", "prices": [{"units": {"image": 1, "image_kinds": {"low": -1}}}]}}}
            }
        ),
        seed(providers={"v": {"more": {"m": {"id": "m", "prices": [{"rates": {"colour": 5}}]}}}}),
        seed(providers={"v": {"more": {"m": {"id": "m", "source": 7, "prices": [{"rates": {"input": 5}}]}}}}),
        seed(
            providers={"v": {"more": {"m": {"id": "m", "prices": [{"rates": {"input": 5}, "from": "x", "to": "y"}]}}}}
        ),
    ],
)
def test_what_is_no_seed_is_refused_and_nothing_changes(database: Database, data: bytes) -> None:
    desk = PriceDesk(database)
    with pytest.raises(InvalidRequest):
        desk.replace_seed(data)
    assert desk.kept().seed is None


def test_the_seed_of_the_package_is_one() -> None:
    assert len(checked(Seed().content()).file.providers) > 40


def test_a_price_that_nobody_was_billed_with_has_no_snapshot(database: Database) -> None:
    with pytest.raises(NotFound):
        PriceDesk(database).snapshot("price_0")
