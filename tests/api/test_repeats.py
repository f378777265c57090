"""Requests with an Idempotency-Key on a socket: faces do what a test says, claims are in memory."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from posthouse.api.exchange import Exchange, Route
from posthouse.api.repeats import RepeatOptions, Repeats
from posthouse.core.caller import Caller
from posthouse.core.errors import PosthouseError, RateLimited, Unavailable, UpstreamFailure
from posthouse.storage.claims import BUSY, CLAIMED, REUSED, Found, KeptAnswer, Scope
from tests.api.doorway import KEY, Client, Doorway, doorway, soon, until

KIND = b"content-type: text/plain\r\n"


class Memory:
    """What the store does, as plainly as can be. `away`: it does not answer."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[bytes, KeptAnswer | None]] = {}
        self.renewed: list[str] = []
        self.trimmed: list[str] = []
        self.away = False

    def claim(self, scope: Scope, now: int) -> Found:
        if self.away:
            raise Unavailable("The database does not answer just now.")
        if scope.id not in self.rows:
            self.rows[scope.id] = (scope.fingerprint, None)
            return CLAIMED
        known, answer = self.rows[scope.id]
        if known != scope.fingerprint:
            return REUSED
        return BUSY if answer is None else answer

    def keep(self, scope: Scope, answer: KeptAnswer, now: int) -> bool:
        self.rows[scope.id] = (scope.fingerprint, answer)
        return True

    def free(self, scope: Scope) -> None:
        self.rows.pop(scope.id, None)

    def renew(self, ids: list[str], now: int) -> None:
        self.renewed += ids

    def trim(self, account_id: str) -> None:
        self.trimmed.append(account_id)

    def sweep(self, now: int) -> None:
        pass

    @property
    def open(self) -> int:
        return sum(answer is None for _, answer in self.rows.values())


class Face:
    """`asked` bodies, in their order; what it does with each is `act`."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.act: Callable[[Exchange, bytes], Awaitable[None]] = self.whole

    async def handle(self, exchange: Exchange) -> None:
        body = exchange.body
        self.asked.append(body)
        await self.gate.wait()
        await self.act(exchange, body)

    async def whole(self, exchange: Exchange, body: bytes) -> None:
        exchange.respond(200, self.head(exchange), b"%b #%d" % (body, len(self.asked)))

    async def stream(self, exchange: Exchange, body: bytes) -> None:
        exchange.start(200, self.head(exchange), 0.0)
        for piece in (body, b"0\r\n\r\n", b"c" * 20):
            exchange.write(piece, 0.0)
            await asyncio.sleep(0)
        exchange.end(b"end")

    def head(self, exchange: Exchange) -> bytes:
        return KIND + b"x-request-id: %b\r\n" % exchange.request_id.encode()


class Here:
    def __init__(self, at: Doorway, face: Face, claims: Memory, repeats: Repeats) -> None:
        self.at, self.face, self.claims, self.repeats = at, face, claims, repeats
        self.counted: list[str] = []

    async def ask(self, body: bytes = b"A", key: str = "k", extra: str = "") -> tuple[int, dict[str, str], bytes]:
        client = await self.at.client()
        client.send(sent(body, key, extra))
        try:
            return await answer_of(client)
        finally:
            await client.leave()


def sent(body: bytes, key: str = "k", extra: str = "") -> bytes:
    lines = f"POST /ask HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {KEY}\r\nidempotency-key: {key}\r\n{extra}"
    return lines.encode("latin-1") + b"content-length: %d\r\n\r\n%b" % (len(body), body)


async def answer_of(client: Client) -> tuple[int, dict[str, str], bytes]:
    status, headers = await client.head()
    if headers.get("transfer-encoding") != "chunked":
        return status, headers, await soon(client.reader.readexactly(int(headers["content-length"])))
    body = b""
    while size := int(await soon(client.reader.readline()), 16):
        body += (await soon(client.reader.readexactly(size + 2)))[:-2]
    await soon(client.reader.readexactly(2))
    return status, headers, body


@asynccontextmanager
async def here(options: RepeatOptions | None = None, claims: Any = None) -> AsyncIterator[Here]:
    async with doorway() as at:
        face = Face()
        known = Memory() if claims is None else claims
        counted: list[str] = []

        async def count(caller: Caller, request_id: str) -> None:
            assert request_id.startswith("req_")
            counted.append(caller.account_id)

        repeats = Repeats(known, options or RepeatOptions(), count, at.door.common_head)
        at.door.once = repeats
        at.door.add("/ask", {b"POST": Route("ask", face.handle, once=True)})
        made = Here(at, face, known, repeats)
        made.counted = counted
        try:
            yield made
        finally:
            face.gate.set()
            await repeats.closing(10)


async def test_a_repetition_is_the_first_answer_with_its_own_request_id_and_says_so() -> None:
    async with here() as one:
        first, again = await one.ask(), await one.ask()
        assert (again[0], again[2]) == (first[0], first[2]) == (200, b"A #1")
        assert again[1].pop("idempotency-replayed") == "true"
        assert again[1] == {**first[1], "date": again[1]["date"]}
        assert one.face.asked == [b"A"]
        assert one.counted == ["acc_1"]


async def test_a_stream_comes_again_as_the_same_bytes() -> None:
    async with here() as one:
        one.face.act = one.face.stream
        first, again = await one.ask(b"text"), await one.ask(b"text")
        assert first[2] == again[2] == b"text0\r\n\r\n" + b"c" * 20 + b"end"
        assert again[1]["content-type"] == "text/plain"
        assert len(one.face.asked) == 1


async def test_those_who_ask_meanwhile_wait_and_another_body_does_not() -> None:
    async with here() as one:
        one.face.gate.clear()
        asking = [asyncio.create_task(one.ask()) for _ in range(5)]
        await until(lambda: one.face.asked)
        status, headers, body = await one.ask(b"B")
        assert (status, headers["x-should-retry"]) == (409, "false")
        assert b'"idempotency_key_reused"' in body
        one.face.gate.set()
        answers = await asyncio.gather(*asking)
        assert {answer[2] for answer in answers} == {b"A #1"}
        assert sum("idempotency-replayed" in answer[1] for answer in answers) == 4


async def test_whoever_waits_too_long_is_told_to_come_again() -> None:
    async with here(RepeatOptions(wait=0.02)) as one:
        one.face.gate.clear()
        first = asyncio.create_task(one.ask())
        await until(lambda: one.face.asked)
        status, headers, body = await one.ask()
        assert (status, headers["retry-after"]) == (409, "2")
        assert b'"idempotency_key_in_use"' in body
        one.face.gate.set()
        assert (await first)[2] == b"A #1"


async def test_what_another_server_is_answering_is_asked_for_again_until_it_is_there() -> None:
    async with here() as one:
        await one.ask()
        await until(lambda: not one.repeats._running)  # it is kept
        ((name, (known, answer)),) = one.claims.rows.items()
        one.claims.rows[name] = (known, None)
        waiting = asyncio.create_task(one.ask())
        await until(lambda: one.repeats._running)
        beside = asyncio.create_task(one.ask())
        one.claims.rows[name] = (known, answer)
        assert (await waiting)[2] == (await beside)[2] == b"A #1"
        one.claims.rows[name] = (known, None)
        one.claims.free(Scope(name, "acc_1", known))  # it has given up
        assert (await one.ask())[2] == b"A #2"


@pytest.mark.parametrize(
    "error", [Unavailable("a"), RateLimited("b", dimension="requests", retry_after=1), UpstreamFailure("server", "c")]
)
async def test_an_answer_that_may_come_out_otherwise_frees_the_key(error: PosthouseError) -> None:
    async def fail(exchange: Exchange, body: bytes) -> None:
        raise error

    async with here() as one:
        one.face.act = fail
        assert (await one.ask())[0] == error.status
        one.face.act = one.face.whole
        assert (await one.ask(b"other"))[2] == b"other #2"


async def test_a_refusal_of_the_provider_is_kept() -> None:
    async def fail(exchange: Exchange, body: bytes) -> None:
        raise UpstreamFailure("context_length", "Too long.", code="context_length_exceeded")

    async with here() as one:
        one.face.act = fail
        first, again = await one.ask(), await one.ask()
        assert (first[0], first[2]) == (again[0], again[2])
        assert first[0] == 400
        assert again[1]["idempotency-replayed"] == "true"
        assert len(one.face.asked) == 1


@pytest.mark.parametrize("how", ["error", "fault", "cut"])
async def test_a_stream_that_breaks_off_frees_the_key(how: str) -> None:
    async def breaks(exchange: Exchange, body: bytes) -> None:
        exchange.start(200, KIND, 0.0)
        exchange.write(b"half", 0.0)
        if how == "error":
            raise UpstreamFailure("bad_request", "No.")
        if how == "fault":
            raise ZeroDivisionError
        exchange.cut()

    async with here() as one:
        one.face.act = breaks
        client = await one.at.client()
        client.send(sent(b"A"))
        assert b"half" in await soon(client.reader.readuntil(b"half"))
        await until(lambda: not one.claims.rows and not one.repeats._running)
        await client.leave()
        one.face.act = one.face.whole
        assert (await one.ask())[2] == b"A #2"


async def test_a_client_that_leaves_frees_the_key_and_one_who_waits_asks_anew() -> None:
    async with here() as one:
        one.face.gate.clear()
        client = await one.at.client()
        client.send(sent(b"A"))
        await until(lambda: one.face.asked)
        waiting = asyncio.create_task(one.ask())
        await until(lambda: len(one.at.connections) == 2 and all(line.current for line in one.at.connections))
        await client.leave()
        await until(lambda: len(one.face.asked) == 2)
        one.face.gate.set()
        assert (await waiting)[2] == b"A #2"


async def test_an_answer_that_is_too_large_says_so_and_is_not_kept() -> None:
    async with here(RepeatOptions(most=10)) as one:
        first, again = await one.ask(b"A" * 20), await one.ask(b"A" * 20)
        assert first[1]["idempotency-kept"] == "false"
        assert (first[2], again[2]) == (b"A" * 20 + b" #1", b"A" * 20 + b" #2")
        one.face.act = one.face.stream
        assert (await one.ask(b"B", "s"))[2] == (await one.ask(b"B", "s"))[2]
        assert len(one.face.asked) == 4


async def test_an_account_is_trimmed_before_its_bound_is_filled_twice() -> None:
    async with here(RepeatOptions(per_account=1_600)) as one:
        for number in range(8):
            await one.ask(key=str(number))
        await one.repeats.closing(10)
        assert one.claims.trimmed
        assert set(one.claims.trimmed) == {"acc_1"}


@pytest.mark.parametrize("key", ["", "k" * 256, "schl\xfcssel", "a\tb"])
async def test_a_key_that_is_none_is_refused_by_name(key: str) -> None:
    async with here() as one:
        status, _, body = await one.ask(key=key)
        assert status == 400
        assert b"Idempotency-Key" in body
        assert one.face.asked == []


async def test_without_the_database_nothing_is_promised_and_no_one_waits_for_ever() -> None:
    async with here() as one:
        one.claims.away = True
        answers = await asyncio.gather(*(one.ask() for _ in range(3)))
        assert {answer[0] for answer in answers} == {503}
        one.claims.away = False
        assert (await one.ask())[2] == b"A #1"


async def test_a_form_is_the_same_under_another_boundary() -> None:
    async with here() as one:
        for boundary in ("xxAxx", "yyBByy"):
            kind = f'content-type: multipart/form-data; boundary="{boundary}"\r\n'
            status, headers, _ = await one.ask(f"--{boundary}\r\n\r\nfile\r\n--{boundary}--".encode(), extra=kind)
            assert status == 200
        assert headers["idempotency-replayed"] == "true"
        kind = "content-type: multipart/form-data; boundary=zz\r\n"
        assert (await one.ask(b"--zz\r\n\r\nother\r\n--zz--", extra=kind))[0] == 409


async def test_claims_that_are_worked_for_are_renewed() -> None:
    async with here(RepeatOptions(renewal=0.001)) as one:
        one.face.gate.clear()
        running = asyncio.create_task(one.repeats.run())
        first = asyncio.create_task(one.ask())
        await until(lambda: one.claims.renewed)
        assert set(one.claims.renewed) == set(one.claims.rows)
        one.face.gate.set()
        await first
        running.cancel()
