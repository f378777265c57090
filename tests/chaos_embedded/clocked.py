"""A house whose clocks a test sets: the real ledger, limiter, journal and database behind the real spine, with a
provider in memory that answers when it is told to. `live` begins one life; the next finds what the former has left."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from msgspec import Struct

from posthouse.accounts.service import Directory
from posthouse.billing.estimate import TokenCounter
from posthouse.billing.ledger import Ledger
from posthouse.billing.prices import PriceBook
from posthouse.billing.stands import StandReader
from posthouse.core.caller import Caller
from posthouse.core.errors import InsufficientQuota
from posthouse.core.ids import IdMaker
from posthouse.dialects.openai_chat_head import decode_head
from posthouse.gateway.admission import GatewayParts
from posthouse.gateway.model import Call, GatewayOptions
from posthouse.gateway.passage import Ledgers
from posthouse.gateway.pricing import Pricing
from posthouse.gateway.service import Gateway
from posthouse.limits.model import LimitReached
from posthouse.limits.recall import DayReader
from posthouse.limits.service import Limiter
from posthouse.settings.model import PriceSettings
from posthouse.storage.database import Database
from posthouse.storage.journal import Journal, JournalOptions
from posthouse.telemetry import Telemetry
from posthouse.upstream.memory import MemoryResponse
from posthouse.upstream.model import UpstreamRequest, UpstreamResponse
from tests.e2e.answers import chunk, completion
from tests.routing.rig import Deployed, Rig

INPUT_NANO, OUTPUT_NANO = 1_000, 10_000
CAP: Final = 20
PRICE: Final = PriceSettings(model="m", provider="a", currency="USD", input="1", output="10")  # type: ignore[arg-type]


class Clocks:
    """`wall` may be set to anything; `steady` only goes on. Seconds."""

    def __init__(self, wall: float) -> None:
        self.wall = wall
        self.steady = 0.0

    def now(self) -> float:
        return self.wall

    def since(self) -> float:
        return self.steady

    def go_on(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


class Asked(Struct, eq=False):
    """A request by its id, the name of its key and the wall clock when it began; its task says what came of it:
    `admitted`, `refused` (no money), `limited`."""

    id: str
    who: str
    at: float
    task: asyncio.Task[str]


class Life:
    """One life of the house. `open` are the requests that a provider is working for."""

    def __init__(self, gateway: Gateway, limiter: Limiter, directory: Directory, clocks: Clocks) -> None:
        self.gateway = gateway
        self._limiter = limiter
        self._directory = directory
        self._clocks = clocks
        self._ids = IdMaker(clocks.now)
        self._gates: dict[str, asyncio.Event] = {}
        self._began = asyncio.Event()

    def look(self) -> float:
        """The house looks at its clocks; the wall clock."""
        return self._limiter.moment().wall

    async def answers(self, request: UpstreamRequest) -> UpstreamResponse:
        """When the gate is open: CAP tokens of output, which is what was asked for at most."""
        body = json.loads(request.body)
        gate = self._gates[body["user"]] = asyncio.Event()
        self._began.set()
        await gate.wait()
        usage = {"prompt_tokens": 3, "completion_tokens": CAP, "total_tokens": 3 + CAP}
        if not body.get("stream"):
            return MemoryResponse(200, [(b"content-type", b"application/json")], [_encoded(completion(usage=usage))])
        events = [chunk({"content": "a"}), chunk({"content": "b"}, "stop"), chunk(None, usage=usage)]
        pieces = [b"data: %b\n\n" % _encoded(event) for event in events]
        return MemoryResponse(200, [(b"content-type", b"text/event-stream")], [*pieces, b"data: [DONE]\n\n"])

    async def begin(self, who: str, secret: str, *, stream: bool) -> Asked:
        """Until a provider works for it, or it was refused."""
        request_id = self._ids.make("req")
        caller = self._directory.authenticate(secret)
        self._began.clear()
        task = asyncio.create_task(self._run(caller, request_id, stream=stream))
        began = asyncio.create_task(self._began.wait())
        await asyncio.wait({task, began}, timeout=20, return_when=asyncio.FIRST_COMPLETED)
        began.cancel()
        assert task.done() or request_id in self._gates
        return Asked(request_id, who, self._clocks.wall, task)

    def answer(self, asked: Asked) -> None:
        self._gates.pop(asked.id).set()

    async def left(self, secret: str) -> str:
        """What the house says when it is asked for more than any budget has."""
        caller = self._directory.authenticate(secret)
        try:
            await self.gateway.run(self._call(caller, self._ids.make("req"), max_tokens=10**9))
        except InsufficientQuota as error:
            return error.message
        raise AssertionError("a request for everything was admitted")

    async def _run(self, caller: Caller, request_id: str, *, stream: bool) -> str:
        try:
            answer = await self.gateway.run(self._call(caller, request_id, stream=stream, max_tokens=CAP))
        except InsufficientQuota:
            return "refused"
        except LimitReached:
            return "limited"
        if answer.events is not None:
            pieces = [piece async for piece in answer.events]
            assert pieces[-1].endswith(b"data: [DONE]\n\n")
        return "admitted"

    @staticmethod
    def _call(caller: Caller, request_id: str, **more: object) -> Call:
        body = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], "user": request_id, **more}
        return Call(caller, decode_head(_encoded(body)), request_id, asyncio.get_running_loop().time())


def _encoded(body: object) -> bytes:
    return json.dumps(body).encode()


@asynccontextmanager
async def live(folder: Path, database: Database, directory: Directory, clocks: Clocks) -> AsyncIterator[Life]:
    """From one start to an end in good order."""
    rig, counter = Rig(Deployed("a")), TokenCounter()
    journal = Journal(folder / "journal", database, options=JournalOptions(gather=0.0))
    journal.start()
    assert journal.wait_applied(30)
    ledger = Ledger.open(database, journal, clock=clocks.now)
    ledger.above = directory.above
    limiter = Limiter(clocks.since, clocks.now)
    await DayReader(limiter, database, journal).start()
    parts = GatewayParts(
        limiter=limiter,
        ledger=ledger,
        pricing=Pricing(PriceBook([PRICE])),
        router=rig.router,
        counter=counter,
        ledgers=Ledgers(journal, Telemetry(), clocks.now),
        budgets=StandReader(ledger, database, journal),
    )
    made = Life(Gateway(parts, GatewayOptions()), limiter, directory, clocks)
    rig.scripts = {"a/m": made.answers}
    try:
        yield made
    finally:
        await made.gateway.closing(10)
        assert journal.close(30)
        counter.close()
