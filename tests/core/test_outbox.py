"""Writes of one turn of the loop."""

import asyncio

from posthouse.core.outbox import Outbox


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
