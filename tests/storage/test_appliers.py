"""Batches against the oracle: whatever the cut into batches, the database says what the rules say."""

from collections.abc import Iterator, Sequence
from contextlib import closing

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from posthouse.storage.appliers import APPLIERS, Applier, Rejected, Repeated
from posthouse.storage.database import Database
from posthouse.storage.rows import END, HOLD, REQUEST, EndRow
from posthouse.storage.segments import Position
from tests.storage.sample import Line, clear, dump, end, expected, hold, request, whole


def encoded(lines: Sequence[Line]) -> dict[str, list[bytes]]:
    groups: dict[str, list[bytes]] = {HOLD: [], END: [], REQUEST: []}
    for kind, row in lines:
        groups[kind].append(msgspec.json.encode(row))
    return groups


def apply(applier: Applier, lines: Sequence[Line]) -> int:
    """One batch in one transaction, as the journal does it. Returns the repeated ends."""
    applier.begin()
    try:
        repeated = applier.apply(encoded(lines))
    except Repeated:
        applier.rollback()
        applier.begin()
        repeated = applier.apply(encoded(lines), careful=True)
    applier.commit()
    return repeated


@pytest.fixture
def applier(database: Database) -> Iterator[Applier]:
    with closing(APPLIERS[database.kind](database)) as made:
        yield made


def test_a_hold_and_its_end_in_one_batch_make_one_finished_hold(database: Database, applier: Applier) -> None:
    lines = whole(1)
    assert apply(applier, lines) == 0
    assert dump(database) == expected(lines)


def test_a_hold_and_its_end_in_two_batches_make_the_same(database: Database, applier: Applier) -> None:
    lines = whole(1)
    apply(applier, lines[:1])
    assert dump(database)["holds"][0][6] == "held"
    apply(applier, lines[1:])
    assert dump(database) == expected(lines)


@pytest.mark.parametrize("state", ["released", "expired"])
def test_an_end_without_a_charge_makes_no_entries(database: Database, applier: Applier, state: str) -> None:
    lines = [hold(1), end(1, charged=0, state=state)]
    apply(applier, lines)
    found = dump(database)
    assert found == expected(lines)
    assert found["entries"] == found["spend"] == []


def test_an_end_whose_hold_is_unknown_is_still_billed(database: Database, applier: Applier) -> None:
    apply(applier, [end(1)])
    found = dump(database)
    assert [row[3] for row in found["entries"]] == [7, -7]
    assert sum(row[4] for row in found["spend"]) == 14  # the key and its account


def test_a_second_end_is_ignored_and_counted_in_the_same_batch_and_in_a_later_one(
    database: Database, applier: Applier
) -> None:
    lines = [hold(1), end(1), end(1, charged=50), hold(2)]
    assert apply(applier, lines) == 1
    assert apply(applier, [end(1, charged=60), end(2)]) == 1
    assert apply(applier, [end(1, charged=0, state="released"), end(2, charged=9)]) == 2
    assert dump(database) == expected([*lines, end(2)])
    applier.close()


def test_many_sizes_of_batches_come_to_the_same(database: Database, applier: Applier) -> None:
    lines = [line for number in range(700) for line in whole(number)]
    begin = 0
    for requests in (1, 3, 4, 5, 16, 17, 63, 64, 65, 129, 333):
        apply(applier, lines[begin : begin + 3 * requests])
        begin += 3 * requests
    assert begin == len(lines)
    assert dump(database) == expected(lines)


def test_every_value_survives_the_way(database: Database, applier: Applier) -> None:
    lines = [
        request(1, model='quotes " and \\ and 驿站 and 😀 and \x7f and \u2028'),
        request(2, model="'; DROP TABLE holds"),
    ]
    apply(applier, lines)
    assert dump(database) == expected(lines)


def test_the_largest_amounts_fit(database: Database, applier: Applier) -> None:
    lines = [hold(1), end(1, charged=2**63 - 1)]
    apply(applier, lines)
    assert dump(database) == expected(lines)


def test_a_nul_becomes_a_replacement_character(database: Database, applier: Applier) -> None:
    apply(applier, [request(1, model="a\0b")])
    assert dump(database)["requests"][0][5] == "a\ufffdb"


@pytest.mark.parametrize(
    "line",
    [
        (END, b'["req_000001","settled",1,7,null,"provider","key","acc","main",20261121,null,"fast"]'),  # no currency
        (END, b'["req_000001","settled",1,7,"USD","provider","key","acc",null,20261121,null,"fast"]'),  # no provider
        (END, b'["req_000001","lost",1,7,"USD","provider","key","acc","main",20261121,null,"fast"]'),
        (
            END,
            b'["req_000001","settled",1,99999999999999999999,"USD","provider","key","acc","main",20261121,null,"fast"]',
        ),
        (HOLD, b'["req_000001"]'),
        (HOLD, b'["req_000001",1,2,3,4,5,6]'),
        (REQUEST, b"{}"),
        (REQUEST, b"not json"),
    ],
)
def test_a_line_that_cannot_be_applied_rejects_its_batch(
    database: Database, applier: Applier, line: tuple[str, bytes]
) -> None:
    groups = encoded(whole(2))
    groups[line[0]].append(line[1])
    applier.begin()
    with pytest.raises(Rejected):
        applier.apply(groups)
    applier.rollback()
    assert dump(database) == expected([])
    applier.close()


def test_the_position_moves_with_its_transaction(database: Database, applier: Applier) -> None:
    assert applier.position("one") is None
    applier.begin()
    applier.move("one", Position(3, 44))
    applier.rollback()
    assert applier.position("one") is None
    for position in (Position(3, 44), Position(4, 0)):
        applier.begin()
        applier.move("one", position)
        applier.commit()
        assert applier.position("one") == position
    assert applier.position("another") is None


def test_entries_of_every_hold_sum_to_zero_and_spend_to_its_debits(database: Database, applier: Applier) -> None:
    apply(applier, [line for number in range(50) for line in whole(number)])
    found = dump(database)
    sums: dict[str, int] = {}
    for row in found["entries"]:
        sums[row[0]] = sums.get(row[0], 0) + row[3]
    assert set(sums.values()) == {0}
    debits = sum(row[3] for row in found["entries"] if row[1] == 0)
    assert sum(row[4] for row in found["spend"] if row[0].startswith("acc_")) == debits


_EVENTS = st.lists(
    st.one_of(
        st.builds(hold, st.integers(0, 8)),
        st.builds(end, st.integers(0, 8), st.integers(0, 99)),
        st.builds(request, st.integers(0, 8)),
    ),
    max_size=40,
)


def _in_order(lines: Sequence[Line]) -> list[Line]:
    """Without what the gateway cannot do: ends before their holds, holds begun again."""
    begun: set[str] = set()
    kept = []
    for kind, row in lines:
        if kind == HOLD:
            if row.id in begun:  # type: ignore[union-attr]
                continue
            begun.add(row.id)  # type: ignore[union-attr]
        elif isinstance(row, EndRow) and row.hold_id not in begun:
            continue
        kept.append((kind, row))
    return kept


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=_EVENTS, sizes=st.lists(st.integers(1, 12), min_size=1, max_size=10))
def test_any_lines_in_any_batches_come_to_what_the_rules_say(
    database: Database, lines: list[Line], sizes: list[int]
) -> None:
    clear(database)
    lines = _in_order(lines)
    applier = APPLIERS[database.kind](database)
    left = lines
    for turn in range(len(lines)):
        size = sizes[turn % len(sizes)]
        apply(applier, left[:size])
        left = left[size:]
    applier.close()
    assert dump(database) == expected(lines)


def test_an_end_of_an_older_version_is_charged_on_the_model_of_its_hold(database: Database, applier: Applier) -> None:
    old = msgspec.json.decode(msgspec.json.encode(end(1)[1]))[:-1]
    apply(applier, [hold(1)])
    lines = {END: [msgspec.json.encode(old)]}
    applier.begin()
    with pytest.raises(Repeated):
        applier.apply(lines)
    applier.rollback()
    applier.begin()
    assert applier.apply(lines, careful=True) == 0
    applier.commit()
    assert dump(database)["spend"] == expected([hold(1), end(1)])["spend"]
