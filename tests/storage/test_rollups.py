"""Roll-ups: whatever the order of the lines and their cut into batches, the tables hold the fold of the records."""

from collections.abc import Sequence
from contextlib import closing
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Column, MetaData, Table, insert, inspect, select, text

from posthouse.core.usage import COUNTS
from posthouse.storage.appliers import APPLIERS, Applier, Repeated
from posthouse.storage.database import Database
from posthouse.storage.migrations.runner import migrate
from posthouse.storage.rollups import HOUR_MS, rebuilt
from posthouse.storage.rows import REQUEST, RequestRow
from posthouse.storage.tables import ROLLED_BY, ROLLED_UP, metadata, requests, usage_days, usage_hours

DAY_MS = 24 * HOUR_MS
Rolled = dict[tuple[object, ...], dict[str, int]]

MOMENTS = st.sampled_from([0, HOUR_MS - 1, HOUR_MS, DAY_MS - 1, DAY_MS, DAY_MS + 5 * HOUR_MS])
COUNTED = st.dictionaries(st.sampled_from(COUNTS), st.integers(0, 1_000_000), max_size=4)


def made_of(fields: dict[str, Any]) -> RequestRow:
    return RequestRow(**fields)


@st.composite
def records(draw: st.DrawFn) -> list[RequestRow]:
    made = []
    for number in range(draw(st.integers(0, 14))):
        priced = draw(st.booleans())
        consumed = draw(st.booleans())
        made.append(
            made_of(
                {
                    "id": f"req_{number:06d}",
                    "created_at": draw(MOMENTS),
                    "key_id": draw(st.sampled_from(["key_1", "key_2"])),
                    "account_id": draw(st.sampled_from(["acc_1", "acc_2"])),
                    "operation": draw(st.sampled_from(["chat.completions", "embeddings"])),
                    "model_asked": "m",
                    "model": draw(st.sampled_from([None, "m", "n"])),
                    "provider": draw(st.sampled_from([None, "main"])),
                    "deployment": draw(st.sampled_from([None, "main/m"])),
                    "status": draw(st.sampled_from([200, 399, 400, 502])),
                    "usage_source": "provider" if consumed else None,
                    "cost": draw(st.integers(0, 2**40)) if priced else None,
                    "currency": draw(st.sampled_from(["USD", "CNY"])) if priced else None,
                    "priced": priced,
                    **draw(COUNTED),
                }
            )
        )
    return made


def oracle(rows: Sequence[RequestRow], unit_ms: int) -> Rolled:
    """The fold, one record after the other."""
    rolled: Rolled = {}
    for row in rows:
        place = (row.created_at // unit_ms, *(getattr(row, name) or "" for name in ROLLED_BY))
        sums = rolled.setdefault(place, dict.fromkeys(ROLLED_UP, 0))
        sums["requests"] += 1
        sums["failed"] += row.status >= 400
        sums["priced"] += row.priced
        sums["unpriced"] += row.usage_source is not None and not row.priced
        sums["cost"] += row.cost or 0
        for name in COUNTS:
            sums[name] += getattr(row, name)
    return rolled


def found(database: Database) -> tuple[Rolled, Rolled]:
    width = len(ROLLED_BY) + 1
    tables = []
    with database.read() as connection:
        for table in (usage_hours, usage_days):
            rows = connection.execute(select(table)).all()
            tables.append({tuple(row[:width]): dict(zip(ROLLED_UP, row[width:], strict=True)) for row in rows})
    return tables[0], tables[1]


def apply(applier: Applier, rows: Sequence[RequestRow]) -> None:
    lines = {REQUEST: [msgspec.json.encode(row) for row in rows]}
    applier.begin()
    try:
        applier.apply(lines)
    except Repeated:
        applier.rollback()
        applier.begin()
        applier.apply(lines, careful=True)
    applier.commit()


@given(data=st.data(), rows=records())
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_order_and_any_cut_come_to_the_same_roll_up(
    database: Database, data: st.DataObject, rows: list[RequestRow]
) -> None:
    with database.write() as connection:
        for table in (requests, usage_hours, usage_days):
            connection.execute(table.delete())
    left = data.draw(st.permutations(rows))
    with closing(APPLIERS[database.kind](database)) as applier:
        while left:
            size = data.draw(st.integers(1, len(left)))
            apply(applier, left[:size])
            left = left[size:]
    assert found(database) == (oracle(rows, HOUR_MS), oracle(rows, DAY_MS))
    with database.read() as connection:
        again = connection.execute(text(rebuilt(HOUR_MS))).all()
    width = len(ROLLED_BY) + 1
    assert {tuple(row[:width]): dict(zip(ROLLED_UP, row[width:], strict=True)) for row in again} == oracle(
        rows, HOUR_MS
    )


def test_a_record_that_is_there_already_counts_once(database: Database) -> None:
    first = RequestRow("req_1", HOUR_MS, "key_1", "acc_1", "chat.completions", "m", "m", input=5)
    other = RequestRow("req_2", HOUR_MS, "key_1", "acc_1", "chat.completions", "m", "m", input=7)
    applier = APPLIERS[database.kind](database)
    apply(applier, [first, first])
    apply(applier, [first, other, other])
    applier.close()
    (sums,) = found(database)[0].values()
    assert (sums["requests"], sums["input"]) == (2, 12)


def test_records_of_before_there_were_roll_ups_are_rolled_up_by_the_migration(database_url: str) -> None:
    database = Database(database_url)
    database.upgrade()
    rows = [
        RequestRow("req_1", 5, "key_1", "acc_1", "chat.completions", "m", input=5, status=500),
        msgspec.structs.replace(
            RequestRow("req_2", HOUR_MS, "key_1", "acc_1", "chat.completions", "m", "m", "main"),
            **{"output": 7, "priced": True, "cost": 9, "currency": "USD", "usage_source": "provider"},
        ),
        RequestRow("req_3", DAY_MS + 1, "key_2", "acc_1", "embeddings", "m", "m", input=3, usage_source="estimated"),
    ]
    with database.write() as connection:
        metadata.drop_all(connection)
        connection.execute(text("DROP TABLE alembic_version"))
        migrate(connection, "0005")
        known = {column["name"] for column in inspect(connection).get_columns("requests")}
        table = Table("requests", MetaData(), *(Column(name) for name in known))
        values = [{name: value for name, value in msgspec.structs.asdict(row).items() if name in known} for row in rows]
        connection.execute(insert(table), values)
    database.upgrade()
    assert found(database) == (oracle(rows, HOUR_MS), oracle(rows, DAY_MS))
    database.close()


@pytest.mark.filterwarnings("ignore:Skip.*expression-based index")
@pytest.mark.parametrize("table", ["requests", "usage_hours", "usage_days"])
def test_what_one_key_or_account_did_is_found_by_an_index(database: Database, table: str) -> None:
    with database.read() as connection:
        names = {index["name"] for index in inspect(connection).get_indexes(table)}
    assert {f"ix_{table}_key_id", f"ix_{table}_account_id"} <= names
