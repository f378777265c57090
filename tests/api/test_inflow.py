"""A streamed body between the connection and its reader."""

import asyncio

import pytest

from posthouse.api.inflow import HIGH_WATER, Inflow
from posthouse.core.errors import RequestTimeout
from tests.api.doorway import soon


class NotedValve:
    def __init__(self) -> None:
        self.noted: list[str] = []

    def hold_body(self) -> None:
        self.noted.append("hold")

    def want_body(self) -> None:
        self.noted.append("want")

    def invite_body(self) -> None:
        self.noted.append("invite")


def inflow(left: int | None = None, *, invited: bool = True) -> tuple[Inflow, NotedValve]:
    valve = NotedValve()
    return Inflow(valve, left, invited), valve


async def test_pieces_come_in_their_order_and_then_the_end_again_and_again() -> None:
    body, _ = inflow()
    body.feed(b"a")
    body.feed(b"b")
    body.end()
    assert [await soon(body.read()) for _ in range(4)] == [b"a", b"b", b"", b""]


async def test_a_reader_waits_for_what_is_to_come() -> None:
    body, _ = inflow()
    reader = asyncio.create_task(body.read())
    await asyncio.sleep(0)
    body.feed(b"a")
    assert await soon(reader) == b"a"


async def test_a_body_has_one_reader_and_one_that_was_cancelled_is_none() -> None:
    body, _ = inflow()
    reader = asyncio.create_task(body.read())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="one reader"):
        await body.read()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    body.feed(b"a")
    assert await soon(body.read()) == b"a"


async def test_the_socket_is_held_above_the_bound_and_wanted_again_once_most_was_read() -> None:
    body, valve = inflow()
    pieces = [bytes(HIGH_WATER // 4)] * 5
    for piece in pieces:
        body.feed(piece)
    assert valve.noted == ["hold"]
    for _ in pieces[:-1]:
        await soon(body.read())
    assert valve.noted == ["hold", "want"]


@pytest.mark.parametrize("how", ["end", "drop"])
async def test_a_socket_that_is_held_is_freed_by_the_end_and_by_those_who_do_not_want_the_rest(how: str) -> None:
    body, valve = inflow()
    body.feed(bytes(HIGH_WATER + 1))
    body.end() if how == "end" else body.drop()
    assert valve.noted == ["hold", "want"]
    body.drop()
    body.feed(bytes(HIGH_WATER + 1))
    assert valve.noted == ["hold", "want"]


async def test_a_failure_is_told_at_once_and_again() -> None:
    body, _ = inflow()
    body.feed(b"a")
    body.fail(RequestTimeout("too slow"))
    for _ in range(2):
        with pytest.raises(RequestTimeout):
            await soon(body.read())


async def test_a_client_that_waits_is_invited_by_the_first_read_alone() -> None:
    body, valve = inflow(invited=False)
    assert valve.noted == []
    reader = asyncio.create_task(body.read())
    await asyncio.sleep(0)
    assert valve.noted == ["invite"]
    body.feed(b"a")
    assert await soon(reader) == b"a"
    body.end()
    assert await soon(body.read()) == b""
    assert valve.noted == ["invite"]


async def test_little_is_left_where_the_rest_is_known_to_be_small_and_on_its_way() -> None:
    assert inflow(65_536)[0].leaves_little
    assert not inflow(65_537)[0].leaves_little
    assert not inflow(None)[0].leaves_little
    assert not inflow(1, invited=False)[0].leaves_little


async def test_what_has_come_counts_and_a_body_that_failed_leaves_more_than_little() -> None:
    body, _ = inflow(100_000)
    body.feed(bytes(50_000))
    assert body.leaves_little
    endless, _ = inflow(None)
    endless.end()
    assert endless.leaves_little
    failed, _ = inflow(10)
    failed.fail(RequestTimeout("too slow"))
    assert not failed.leaves_little
