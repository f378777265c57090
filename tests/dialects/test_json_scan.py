"""Members of a JSON object that passes in pieces."""

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.dialects.json_scan import MemberScan

NAMES = ("model", "n", "usage")
BODY = {
    "messages": [{"a": 'x"}{\\', "b": [1, 2, {"model": "inner"}], "model": "inner"}],
    "model": "mö",
    "n": 3,
    "usage": {"a": [1, "}"], "model": "inner"},
    "z": None,
}


def scanned(text: bytes, size: int = 1 << 20, **more: Any) -> MemberScan:
    scan = MemberScan(NAMES, **more)
    for at in range(0, len(text), size):
        scan.feed(text[at : at + size])
    return scan


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64, 1000])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_members_of_the_top_level_are_found_however_the_text_is_cut(size: int, ascii_only: bool) -> None:
    scan = scanned(json.dumps(BODY, ensure_ascii=ascii_only, indent=1).encode(), size)
    assert scan.sound
    assert scan.ended
    assert {name: json.loads(value) for name, value in scan.values.items()} == {name: BODY[name] for name in NAMES}
    assert scan.twice == set()


@given(
    members=st.lists(
        st.tuples(
            st.sampled_from(["model", "n", "usage", "other", "mod\\u0065l", "x"]),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.text(max_size=8),
                lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
                max_leaves=8,
            ),
        ),
        max_size=6,
    ),
    cuts=st.lists(st.integers(1, 9), min_size=1, max_size=8),
)
def test_whatever_is_written_is_read_as_json_reads_it(members: list[tuple[str, Any]], cuts: list[int]) -> None:
    text = ("{" + ", ".join(f'"{name}": {json.dumps(value)}' for name, value in members) + "}").encode()
    scan = MemberScan(NAMES, 1 << 20)
    at = turn = 0
    while at < len(text):
        scan.feed(text[at : at + cuts[turn % len(cuts)]])
        at += cuts[turn % len(cuts)]
        turn += 1
    pairs = json.loads(text, object_pairs_hook=lambda found: found)
    names = [json.loads(f'"{name}"') for name, _ in members]
    assert len(pairs) == len(names)
    assert (scan.sound, scan.ended) == (True, True)
    last = {name: value for name, (_, value) in zip(names, members, strict=True) if name in NAMES}
    assert {name: json.loads(value) for name, value in scan.values.items()} == last
    assert scan.twice == {name for name in NAMES if names.count(name) > 1}


@pytest.mark.parametrize(
    "text",
    [
        b"[]",
        b'"model"',
        b"nonsense",
        b'{"model":"a"} trailing',
        b'{"model":"a"}{"model":"b"}',
        b'{"model":"a", /* "n": 1 */ "x": 2}',
        b'{"model":"a", // n\n "x": 2}',
        b"{'model':'a'}",
        b'{"model" "a"}',
        b'{"model":}',
        b'{model:"a"}',
        b'{"a\n":1,"\\x":2}',
        b'{"a":]}',
        '{"model":"a"}'.encode("utf-16"),
        '{"model":"a"}'.encode("utf-16-le"),
        '{"model":"a"}'.encode("utf-32"),
        b"\xef\xbb{}",
        b'{"a":' + b"[" * 200_000,
        b'{"a":' + bytes([0]) + b"1}",
    ],
)
@pytest.mark.parametrize("size", [1, 1 << 20])
def test_what_is_no_json_object_is_not_sound_and_says_nothing(text: bytes, size: int) -> None:
    scan = scanned(text, size)
    assert not scan.sound
    assert scan.values == {}


def test_a_text_that_is_cut_has_not_ended() -> None:
    scan = scanned(b'{"model":"a","x":"never')
    assert (scan.sound, scan.ended, scan.values) == (True, False, {"model": b'"a"'})


def test_what_stands_in_brackets_is_known_with_the_last_of_them() -> None:
    assert scanned(b'{"usage":{"a":"}"}', 3).values == {"usage": b'{"a":"}"}'}
    assert scanned(b'{"usage":{"a":[1]', 3).values == {}
    assert scanned(b'{"n":12', 3).values == {}


def test_a_byte_order_mark_may_stand_before_it() -> None:
    assert scanned(b'\xef\xbb\xbf {"model":"a"}\n', 1).values == {"model": b'"a"'}


def test_what_is_too_long_is_not_kept_and_still_counts_as_said() -> None:
    scan = scanned(b'{"model":"' + b"x" * 100 + b'","n":1,"model":"y"}', longest=50)
    assert scan.values == {"model": b'"y"', "n": b"1"}
    assert (scan.twice, scan.long) == ({"model"}, {"model"})
    assert scanned(b'{"model":"y","model":"' + b"x" * 100 + b'"}', longest=50).values == {}


def test_a_long_text_costs_no_memory() -> None:
    scan = MemberScan(NAMES)
    scan.feed(b'{"' + b"k" * 100_000 + b'":"')
    piece = b"A" * 100_000
    tracemalloc.start()
    for _ in range(100):
        scan.feed(piece)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    scan.feed(b'","model":"m"}')
    assert scan.values == {"model": b'"m"'}
    assert most < 300_000


@pytest.mark.parametrize("size", [1, 4, 1000])
def test_of_objects_in_an_array_the_last_word_stands(size: int) -> None:
    text = b'[{"model":"a","n":1},\n {"model":"b"} ]'
    scan = scanned(text, size, array=True)
    assert scan.sound
    assert (scan.values, scan.twice) == ({"model": b'"b"', "n": b"1"}, set())
    assert not scanned(text, size).sound
    assert not scanned(b"[1]", size, array=True).sound
