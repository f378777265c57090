"""Any interleaving of clients, answers, clients that leave, servers that die and time, on two servers of one database:
no request is answered twice, unless its first answer reached nobody."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar, TypeVarTuple, Unpack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.api.exchange import Exchange, Route
from posthouse.api.repeats import RepeatOptions, Repeats
from posthouse.core.caller import Caller
from posthouse.core.errors import Unavailable
from posthouse.storage.claims import ClaimBounds, ClaimStore, Found, KeptAnswer, Scope
from posthouse.storage.database import Database
from tests.api.doorway import Client, Doorway, doorway, until
from tests.api.test_repeats import KIND, answer_of, sent

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")
LEASE: Final = 30.0
KEYS: Final = "kl"
BODIES: Final = (b"A", b"B")
STEPS: Final = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(0, 1), st.sampled_from(KEYS), st.sampled_from(BODIES)),
        st.tuples(st.just("ask"), st.integers(0, 1), st.just("k"), st.just(b"A")),
        st.tuples(st.just("leave"), st.integers(0, 5)),
        st.tuples(st.just("answer"), st.integers(0, 1)),
        st.tuples(st.just("die"), st.integers(0, 1)),
        st.tuples(st.just("pass_time"), st.floats(1, 20)),
    ),
    max_size=16,
)


class Mortal:
    """A store whose process may die: from then on nothing of it reaches the database."""

    def __init__(self, store: ClaimStore) -> None:
        self.store = store
        self.dead = False

    def _alive(self) -> ClaimStore:
        if self.dead:
            raise Unavailable("dead")
        return self.store

    def claim(self, scope: Scope, now: int) -> Found:
        return self._alive().claim(scope, now)

    def keep(self, scope: Scope, answer: KeptAnswer, now: int) -> bool:
        return self._alive().keep(scope, answer, now)

    def free(self, scope: Scope) -> None:
        self._alive().free(scope)

    def renew(self, ids: list[str], now: int) -> None:
        self._alive().renew(ids, now)

    def trim(self, account_id: str) -> None:
        self._alive().trim(account_id)

    def sweep(self, now: int) -> None:
        self._alive().sweep(now)


async def uncounted(caller: Caller, request_id: str) -> None:
    """Limits are no matter here."""


class Counted(Repeats):
    """Counts the requests that have come to it, and the calls of its store that are under way."""

    came = 0
    calling = 0

    async def answer(self, exchange: Exchange, route: Route) -> None:
        self.came += 1
        await super().answer(exchange, route)

    def _threaded(self, work: Callable[[Unpack[Arguments]], Result], *arguments: *Arguments) -> Awaitable[Result]:
        self.calling += 1
        future = asyncio.ensure_future(super()._threaded(work, *arguments))
        future.add_done_callback(self._called)
        return future

    def _called(self, _: object) -> None:
        self.calling -= 1


class Asked:
    """A client, at the server of this number; `answer` is what it gets, in the end."""

    def __init__(self, server: int, key: str, body: bytes, client: Client) -> None:
        self.server, self.key, self.body, self.client = server, key, body, client
        self.answer = asyncio.ensure_future(answer_of(client))


class Server:
    def __init__(self, world: "World", at: Doorway) -> None:
        self.world, self.at = world, at
        self.gate = asyncio.Event()
        self.working = 0
        self.lives: list[Counted] = []
        at.door.add("/ask", {b"POST": Route("ask", self.handle, once=True)})
        self.begin()

    def begin(self) -> None:
        self.store = Mortal(self.world.store())
        repeats = Counted(self.store, RepeatOptions(), uncounted, self.at.door.common_head, self.world.clock)
        self.at.door.once = repeats
        self.lives.append(repeats)

    async def handle(self, exchange: Exchange) -> None:
        self.world.runs += 1
        body = b"%b #%d" % (exchange.body, self.world.runs)
        self.working += 1
        try:
            await self.gate.wait()
        finally:
            self.working -= 1
        exchange.respond(200, KIND, body)

    def settled(self) -> bool:
        """Whether all is answered and kept."""
        return not self.working and not any(life._tasks for life in self.lives)


class World:
    def __init__(self, database: Database) -> None:
        self.database = database
        self.now = 1.0
        self.runs = 0
        self.stores = 0
        self.asked: list[Asked] = []
        self.told: dict[tuple[str, bytes], set[bytes]] = {}
        self.servers: list[Server] = []

    def clock(self) -> float:
        return self.now

    def store(self) -> ClaimStore:
        self.stores += 1
        bounds = ClaimBounds(keep=10**9, lease=int(LEASE * 1000))
        return ClaimStore(self.database, f"life_{self.stores}", bounds)

    async def ask(self, server: int, key: str, body: bytes) -> None:
        one = self.servers[server]
        client = await one.at.client()
        self.asked.append(Asked(server, key, body, client))
        came = one.lives[-1].came
        client.send(sent(body, key))
        await until(lambda: one.lives[-1].came > came)

    async def leave(self, number: int) -> None:
        if number < len(self.asked):
            await self._gone(self.asked.pop(number))

    async def answer(self, server: int) -> None:
        """What it works on now is answered; so is what it begins, until all is still."""
        one = self.servers[server]
        one.gate.set()
        await until(one.settled)
        one.gate.clear()

    async def die(self, server: int) -> None:
        """Its clients hear nothing any more, its claims stay until their lease is over, and it begins anew."""
        one = self.servers[server]
        one.store.dead = True
        one.begin()
        for asked in [asked for asked in self.asked if asked.server == server]:
            self.asked.remove(asked)
            await self._gone(asked)

    async def pass_time(self, seconds: float) -> None:
        """What is alive renews its claims in time: no call of a store takes as long as a lease."""
        await until(lambda: not any(life.calling for server in self.servers for life in server.lives))
        self.now += seconds
        for server in self.servers:
            server.store.renew(list(server.lives[-1]._running), int(self.now * 1000))

    async def end(self) -> None:
        await self.pass_time(20.0)
        await self.pass_time(20.0)  # claims of the dead are over
        for server in self.servers:
            server.gate.set()
        for asked in self.asked:
            await self._hear(asked)

    async def _gone(self, asked: Asked) -> None:
        if asked.answer.done():
            await self._hear(asked)
            return
        asked.answer.cancel()
        await asyncio.wait({asked.answer})
        await asked.client.leave()

    async def _hear(self, asked: Asked) -> None:
        status, _, text = await asked.answer
        await asked.client.leave()
        assert status in (200, 409), text
        if status == 200:
            assert text.startswith(asked.body + b" #")
            self.told.setdefault((asked.key, asked.body), set()).add(text)
        else:
            assert b"idempotency_key_reused" in text


@settings(max_examples=30)
@given(steps=STEPS)
def test_any_interleaving_runs_each_request_once(steps: list[Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    asyncio.run(interleaved(steps, tmp_path_factory.mktemp("db")))


async def interleaved(steps: list[Any], folder: Path) -> None:
    database = Database(f"sqlite:///{folder / 'posthouse.db'}")
    database.upgrade()
    async with doorway() as here, doorway() as there:
        world = World(database)
        world.servers = [Server(world, here), Server(world, there)]
        for name, *arguments in steps:
            step: Awaitable[None] = partial(getattr(world, name), *arguments)()
            await step
        await world.end()
        for life in (life for server in world.servers for life in server.lives):
            await life.closing(10)
    database.close()
    assert all(len(texts) == 1 for texts in world.told.values()), world.told
    told = {key for key, _ in world.told}
    assert len(world.told) == len(told), "one key has answered two requests"
