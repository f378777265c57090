"""Writes of one turn of the loop."""

import asyncio

from posthouse.upstream.outbox import Outbox


class Noted:
    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closing = False

    def is_closing(self) -> bool:
        return self.closing

    def write(self, data: bytes, /) -> None:
        self.written.append(data)


async def test_what_is_put_in_one_turn_is_written_in_the_next_as_one_piece_for_each_transport() -> None:
    outbox, one, two = Outbox(), Noted(), Noted()
    outbox.put(one, b"head ")
    outbox.put(two, b"other")
    outbox.put(one, b"body")
    assert one.written == two.written == []
    await asyncio.sleep(0)
    assert one.written == [b"head body"]
    assert two.written == [b"other"]


async def test_what_is_put_after_a_flush_is_written_in_its_turn_too() -> None:
    outbox, one = Outbox(), Noted()
    outbox.put(one, b"1")
    outbox.flush()
    outbox.put(one, b"2")
    assert one.written == [b"1"]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert one.written == [b"1", b"2"]


async def test_a_large_write_does_not_wait_and_keeps_its_place() -> None:
    outbox, one = Outbox(), Noted()
    pieces = [bytes([65 + index]) * 40_000 for index in range(3)]
    for piece in pieces:
        outbox.put(one, piece)
    assert one.written == pieces[:2]
    outbox.flush()
    assert one.written == pieces


async def test_a_transport_that_closed_meanwhile_is_passed_over_and_the_others_are_served() -> None:
    outbox, gone, there = Outbox(), Noted(), Noted()
    outbox.put(gone, b"lost")
    outbox.put(there, b"kept")
    gone.closing = True
    outbox.flush()
    assert gone.written == []
    assert there.written == [b"kept"]


async def test_where_one_write_follows_the_other_they_are_made_as_they_come_and_together_again_when_they_meet() -> None:
    outbox, one, two = Outbox(), Noted(), Noted()
    waited = []
    for number in range(200):
        outbox.put(one, b"%d," % number)
        waited.append(not b"".join(one.written).endswith(b"%d," % number))
        await asyncio.sleep(0)
    assert b"".join(one.written) == b"".join(b"%d," % number for number in range(200))
    assert waited[0]
    assert waited.count(False) > 150
    for _ in range(100):  # now two in each turn: soon they go together
        outbox.put(one, b"x")
        outbox.put(two, b"y")
        await asyncio.sleep(0)
    outbox.put(one, b"last")
    assert one.written[-1] == b"x"
    outbox.flush()
    assert one.written[-1] == b"last"
