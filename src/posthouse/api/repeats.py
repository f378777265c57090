"""`Idempotency-Key`: a request that is sent again gets the answer of the first one, and costs nothing.

    claim    the key is this request's, or an answer is there, or somebody is making one       (storage/claims.py)
    answer   the face answers as ever, onto a tape                                             (tape.py)
    keep     what is final is kept: 2xx, and what the provider refuses for good; all else frees the claim

Who asks while the first one is being answered waits: here for its future, at other servers of the same database by
asking again. Above: the front door, for routes that say `once`. The rules are docs/http.md's and docs/billing.md's.
"""

import asyncio
import hashlib
import logging
import re
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, Protocol, TypeVar, TypeVarTuple, Unpack

from msgspec import Struct

from posthouse.api.exchange import Exchange, Route
from posthouse.api.tape import Tape, replay
from posthouse.api.uploads import read_all
from posthouse.core.caller import Caller
from posthouse.core.errors import FailureKind, InvalidRequest, PosthouseError, UpstreamFailure, retry_headers
from posthouse.settings import IdempotencySettings
from posthouse.storage.claims import BUSY, CLAIMED, REUSED, ClaimBounds, ClaimStore, Found, KeptAnswer, Scope
from posthouse.storage.database import Database

logger = logging.getLogger("posthouse.api")

HEADER: Final = b"idempotency-key"
_KEY: Final = re.compile(rb"[\x20-\x7e]{1,255}")
_BOUNDARY: Final = re.compile(rb'boundary="?([^";]+)"?', re.IGNORECASE)
_SECRET: Final = re.compile(rb"(^|&)key=[^&]*")
# They would come out the same again.
_DEFINITE: Final[frozenset[FailureKind]] = frozenset({"bad_request", "context_length", "content_filter"})
_HASHED_AT_ONCE: Final = 256 << 10  # bytes; more takes longer than the loop may stand still
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0
_RETRY_AFTER: Final = 1.0
_TRIMS: Final = 16  # looks at what an account has, while it fills its bound once
_SWEEP_SECONDS: Final = 60.0
_THREADS: Final = 2
Counts = Callable[[Caller, str], Awaitable[None]]
"""Takes a request, of this id, from all limits of its caller. LimitReached."""
Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


class IdempotencyKeyReused(PosthouseError):
    """The key was sent with another request before."""

    status = 409
    type = "invalid_request_error"
    code = "idempotency_key_reused"

    def headers(self) -> list[tuple[str, str]]:
        return [("x-should-retry", "false")]


class IdempotencyKeyInUse(PosthouseError):
    """The first request with this key is still being answered."""

    status = 409
    type = "invalid_request_error"
    code = "idempotency_key_in_use"

    def headers(self) -> list[tuple[str, str]]:
        return retry_headers(_RETRY_AFTER)


class Claims(Protocol):
    """What is asked of the store; everything in it blocks."""

    def claim(self, scope: Scope, now: int) -> Found: ...
    def keep(self, scope: Scope, answer: KeptAnswer, now: int) -> bool: ...
    def free(self, scope: Scope) -> None: ...
    def renew(self, ids: list[str], now: int) -> None: ...
    def trim(self, account_id: str) -> None: ...
    def sweep(self, now: int) -> None: ...


class RepeatOptions(Struct, frozen=True):
    """Bytes of an answer that is kept, and of all those of an account; seconds to wait for a first answer, and between
    renewals of claims."""

    most: int = 1 << 20
    per_account: int = 64 << 20
    wait: float = 120.0
    renewal: float = 10.0


class _Running(Struct, eq=False):
    """A request that is being answered here. `end` has its answer, or None where there is none to keep; `failed`: there
    will be none, but the key is not free yet."""

    scope: Scope
    end: "asyncio.Future[KeptAnswer | None]"
    failed: bool = False


class Repeats:
    """One per process. `counts` takes a request from the caller's limits; `common` gives the lines that every answer to
    an exchange carries; `clock` is seconds since the epoch."""

    def __init__(
        self,
        claims: Claims,
        options: RepeatOptions,
        counts: Counts,
        common: Callable[[Exchange], bytes],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._claims = claims
        self._options = options
        self._counts = counts
        self._common = common
        self._clock = clock
        self._running: dict[str, _Running] = {}
        self._grown: dict[str, int] = {}  # bytes kept for an account since its bound was looked at
        self._tasks: set[asyncio.Task[None]] = set()
        # Their own threads: a burst of keys must not keep those of everything else.
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="claims")

    async def answer(self, exchange: Exchange, route: Route) -> None:
        """As the route's handler does, or with the answer of the first request. Raises PosthouseError as long as
        nothing was said."""
        key = _key_of(exchange)
        if exchange.inflow is not None:
            exchange.body = await read_all(exchange)
            exchange.inflow = None
        scope = await self._scope(exchange, route, key)
        found = await self._settled(scope)
        if isinstance(found, KeptAnswer):
            assert exchange.caller is not None  # `once` routes are authenticated
            await self._counts(exchange.caller, exchange.request_id)
            replay(exchange, found, self._common(exchange))
            return
        tape = Tape(exchange.wire, self._options.most, partial(self._over, found))
        exchange.wire = tape
        failed = True  # then the door says so, onto the tape
        try:
            await route.handler(exchange)
            failed = False
        finally:
            if not tape.over and (exchange.gone or not failed):
                self._fail(found)

    async def run(self) -> None:
        """Until cancelled: claims that are worked for are renewed, what is over is swept."""
        swept = -_SWEEP_SECONDS
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._options.renewal)
            try:
                if ids := list(self._running):
                    await self._threaded(self._claims.renew, ids, self._now())
                if loop.time() - swept >= _SWEEP_SECONDS:
                    swept = loop.time()
                    self._grown.clear()
                    await self._threaded(self._claims.sweep, self._now())
            except Exception:  # the top of a task: a database that is away must not end it
                logger.exception("kept answers could not be looked after")

    async def closing(self, timeout: float) -> None:
        """Waits for what is still being kept; what does not come to its end is freed by its lease."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout)
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)

    # Who answers

    async def _settled(self, scope: Scope) -> "_Running | KeptAnswer":
        """The answer, or our claim. IdempotencyKeyReused, IdempotencyKeyInUse, Unavailable."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._options.wait
        while (running := self._running.get(scope.id)) is not None:
            if running.scope.fingerprint != scope.fingerprint and not running.failed:
                raise _reused()
            done, _ = await asyncio.wait({running.end}, timeout=max(0.0, until - loop.time()))
            if not done:
                raise _in_use()
            if (answer := running.end.result()) is not None:
                return answer
        running = self._running[scope.id] = _Running(scope, loop.create_future())
        found: Found | None = None
        try:
            found = await self._claimed(running, until)
        finally:
            if found is None:
                self._end(running, None)
        if found is REUSED:
            self._end(running, None)
            raise _reused()
        if isinstance(found, KeptAnswer):
            self._end(running, found)
            return found
        if found is not CLAIMED:
            self._end(running, None)
            raise _in_use()
        return running

    async def _claimed(self, running: _Running, until: float) -> Found:
        """What the store says in the end; BUSY only where another is not done by `until`."""
        loop = asyncio.get_running_loop()
        pause = _FIRST_PAUSE
        while True:
            asked = asyncio.ensure_future(self._threaded(self._claims.claim, running.scope, self._now()))
            try:
                found = await asyncio.shield(asked)
            except asyncio.CancelledError:  # the thread goes on: what it claims for nobody is freed
                self._later(self._forsaken(asked, running.scope))
                raise
            left = until - loop.time()
            if found is not BUSY or left <= 0:
                return found
            await asyncio.sleep(min(pause, left))
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _forsaken(self, asked: "asyncio.Future[Found]", scope: Scope) -> None:
        if await asked is CLAIMED:
            await self._threaded(self._claims.free, scope)

    # The end of an answer

    def _over(self, running: _Running, tape: Tape, exchange: Exchange) -> None:
        answer = tape.answer
        if answer is None or not _final(answer.status, exchange.refusal):
            self._fail(running)
        else:
            running.end.set_result(answer)  # whoever waits here need not wait for the disk
            self._later(self._keep(running, answer))

    async def _keep(self, running: _Running, answer: KeptAnswer) -> None:
        scope = running.scope
        try:
            await self._threaded(self._claims.keep, scope, answer, self._now())
            grown = self._grown.get(scope.account_id, 0) + len(answer.head) + len(answer.body)
            self._grown[scope.account_id] = grown
            if grown > self._options.per_account // _TRIMS:
                self._grown[scope.account_id] = 0
                await self._threaded(self._claims.trim, scope.account_id)
        finally:
            self._end(running, answer)

    def _fail(self, running: _Running) -> None:
        running.failed = True
        self._later(self._free(running))

    async def _free(self, running: _Running) -> None:
        try:
            await self._threaded(self._claims.free, running.scope)
        finally:
            self._end(running, None)

    def _end(self, running: _Running, answer: KeptAnswer | None) -> None:
        if self._running.get(running.scope.id) is running:
            del self._running[running.scope.id]
        if not running.end.done():
            running.end.set_result(answer)

    # Inside

    async def _scope(self, exchange: Exchange, route: Route, key: bytes) -> Scope:
        caller = exchange.caller
        assert caller is not None
        # Whoever may less gets no answer from the time, or for the key, of one that may more.
        scopes = b"" if caller.scopes is None else ",".join(sorted(caller.scopes)).encode()
        parts = [caller.account_id.encode(), exchange.method, route.name.encode(), key, scopes]
        if exchange.own is not None:  # what one key was told by its own credential is no other's
            parts.append(exchange.own.by.encode())
        name = hashlib.sha256(b"\n".join(parts)).hexdigest()
        if len(exchange.body) > _HASHED_AT_ONCE:
            return Scope(name, caller.account_id, await asyncio.to_thread(fingerprint, exchange))
        return Scope(name, caller.account_id, fingerprint(exchange))

    def _now(self) -> int:
        return int(self._clock() * 1000)

    def _threaded(self, work: Callable[[Unpack[Arguments]], Result], *arguments: *Arguments) -> Awaitable[Result]:
        return asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    def _later(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("an answer could not be kept, or its claim not freed", exc_info=error)


def make_repeats(
    settings: IdempotencySettings,
    database: Database,
    owner: str,
    counts: Counts,
    common: Callable[[Exchange], bytes],
) -> Repeats | None:
    """None where no answers are to be kept. `owner` is unique to this life of this process."""
    if not settings.keep:
        return None
    bounds = ClaimBounds(keep=int(settings.keep * 1000), per_account=settings.max_account)
    options = RepeatOptions(settings.max_answer, settings.max_account, settings.wait)
    return Repeats(ClaimStore(database, owner, bounds), options, counts, common)


def fingerprint(exchange: Exchange) -> bytes:
    """SHA-256 of method, path, query (but for a key in it) and body. Of a form without its boundary, which clients make
    anew for each try."""
    path, _, query = exchange.target.partition(b"?")
    kind = exchange.headers.get(b"content-type", b"")
    boundary = _BOUNDARY.search(kind) if kind[:10].lower() == b"multipart/" else None
    body = exchange.body if boundary is None else exchange.body.replace(boundary[1], b"\0")
    digest = hashlib.sha256(b"%b %b?%b\n" % (exchange.method, path, _SECRET.sub(b"", query)))
    digest.update(body)
    return digest.digest()


def _final(status: int, error: PosthouseError | None) -> bool:
    """Whether the same request would come out the same."""
    if error is None:
        return 200 <= status < 300
    # What was said as the last event of a stream (status 200) is not kept: it broke after it began.
    return isinstance(error, UpstreamFailure) and error.kind in _DEFINITE and status == error.status


def _key_of(exchange: Exchange) -> bytes:
    key = exchange.headers[HEADER]
    if not _KEY.fullmatch(key):
        raise InvalidRequest(
            "Idempotency-Key must be 1 to 255 printable ASCII characters.",
            param="Idempotency-Key",
            code="invalid_value",
        )
    return key


def _reused() -> IdempotencyKeyReused:
    return IdempotencyKeyReused(
        "This Idempotency-Key was sent with another request before; use a new key for a new request.",
        param="Idempotency-Key",
    )


def _in_use() -> IdempotencyKeyInUse:
    return IdempotencyKeyInUse(
        "The first request with this Idempotency-Key is still being answered; send it again later.",
        param="Idempotency-Key",
    )
