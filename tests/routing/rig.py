"""A router over scripted providers, in a loop whose clock jumps from timer to timer: nobody really waits."""

import asyncio
import json
import random
import selectors
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, TypeVar

from msgspec import Struct

from posthouse.core.errors import FailureKind, UpstreamFailure
from posthouse.core.requests import ModelRequest
from posthouse.dialects.openai_chat_head import decode_head
from posthouse.providers import openai_compatible
from posthouse.providers.model import ProviderAccount
from posthouse.providers.reply import Reply
from posthouse.routing.catalog import Catalog
from posthouse.routing.model import Candidate, ModelName, ModelRoute, Offer, RoutingOptions, Trace
from posthouse.routing.service import Router
from posthouse.telemetry import Telemetry
from posthouse.upstream.memory import MemoryResponse, ScriptedTransport
from posthouse.upstream.model import UpstreamRequest, UpstreamResponse

T = TypeVar("T")
Script = Callable[[UpstreamRequest], Awaitable[UpstreamResponse]]

OPTIONS: Final = RoutingOptions(max_attempts=4, cooldown=5.0)


class _Selector(selectors.DefaultSelector):
    """Instead of waiting for a timer, moves the clock to it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise RuntimeError("everybody waits, and no timer will wake anybody")
        self.now += max(0.0, timeout)
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = _Selector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now


def run(work: Coroutine[Any, Any, T]) -> T:
    """Does `work` in a loop of jumping time."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(work)


def now() -> float:
    return asyncio.get_running_loop().time()


# What providers do


def answers(seconds: float = 0.1) -> Script:
    async def script(request: UpstreamRequest) -> UpstreamResponse:
        await asyncio.sleep(seconds)
        if b'"stream":true' in request.body:
            return MemoryResponse(200, [(b"content-type", b"text/event-stream")], [_EVENTS])
        return MemoryResponse(200, [(b"content-type", b"application/json")], [_WHOLE])

    return script


def refuses(status: int, seconds: float = 0.0, code: str | None = None, **headers: str) -> Script:
    """An error answer; header names with underscores."""
    lines = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]

    async def script(_: UpstreamRequest) -> UpstreamResponse:
        await asyncio.sleep(seconds)
        body = json.dumps({"error": {"message": f"no: {status}", "type": None, "param": None, "code": code}})
        return MemoryResponse(status, [(b"content-type", b"application/json"), *lines], [body.encode()])

    return script


def in_turn(*scripts: Script) -> Script:
    """Each once, the last for ever."""
    left = list(scripts)

    async def script(request: UpstreamRequest) -> UpstreamResponse:
        return await (left.pop(0) if len(left) > 1 else left[0])(request)

    return script


_WHOLE: Final = json.dumps(
    {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
).encode()
_EVENTS: Final = (
    b'data: {"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'
    b'data: {"object":"chat.completion.chunk","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    b"data: [DONE]\n\n"
)


class Deployed(Struct, frozen=True):
    """One provider account: its models, and how it is preferred."""

    name: str
    models: tuple[str, ...] = ("m",)
    priority: int = 0
    weight: float = 1.0
    credentials: int = 1


class Rig:
    """`scripts` say what each deployment does (`answers()` where none does), or one credential of it (`a/m#2`).
    `visits` are the deployments that were asked, in their order; `used` says with which credential."""

    def __init__(
        self,
        *deployed: Deployed,
        routes: Sequence[ModelRoute] = (),
        options: RoutingOptions = OPTIONS,
        rng: random.Random | None = None,
    ) -> None:
        self.scripts: dict[str, Script] = {}
        self.visits: list[str] = []
        self.used: list[str] = []
        transport = ScriptedTransport(self._answer)
        offers = [self._offer(one, transport) for one in deployed]
        self.router = Router(Catalog(offers, routes, 0), options, Telemetry(), rng or random.Random(7))

    @staticmethod
    def _offer(one: Deployed, transport: ScriptedTransport) -> Offer:
        account, *others = [
            ProviderAccount(
                name=one.name,
                row=openai_compatible.ROW,
                base_url="https://llm.example.com/v1",
                credential=f"made-up-{number}",
            )
            for number in range(1, one.credentials + 1)
        ]
        models = tuple(ModelName(name, name) for name in one.models)
        return Offer(account, models, transport, one.priority, one.weight, tuple(others))

    async def _answer(self, request: UpstreamRequest) -> UpstreamResponse:
        used = request.headers.partition(b"made-up-")[2].split(b"\r\n")[0].decode()
        self.visits.append(request.pool)
        self.used.append(f"{request.pool}#{used}")
        script = self.scripts.get(self.used[-1]) or self.scripts.get(request.pool) or answers()
        return await script(request)

    def plan(self, model: str = "m", trace: Trace | None = None, **more: Any) -> list[Candidate]:
        return list(self.router.planner.plan(asked(model, **more), now(), trace or Trace(now())))

    def fail(self, deployment: str, kind: FailureKind, retry_after: float | None = None, credential: int = 0) -> None:
        """As if an attempt that began just now had failed so."""
        found = self.router.catalog.candidates(deployment)
        (candidate,) = [one for one in found if one.credential == credential]
        failure = UpstreamFailure(kind, "no", retry_after=retry_after)
        self.router.health.failed(candidate, "chat.completions", failure, now(), now())

    def firsts(self, times: int, model: str = "m") -> Counter[str]:
        """How often each deployment comes first in a plan."""
        return Counter(self.plan(model)[0].deployment.id for _ in range(times))

    async def ask(self, model: str = "m", **more: Any) -> tuple[Reply, Trace]:
        request = asked(model, **more)
        trace = Trace(now())
        plan = self.router.planner.plan(request, now(), trace)
        return await self.router.attempt(plan, request, trace), trace


def asked(model: str = "m", **more: Any) -> ModelRequest:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], **more}
    return decode_head(json.dumps(body, separators=(",", ":")).encode())


def ids(plan: Sequence[Candidate]) -> list[str]:
    return [candidate.deployment.id for candidate in plan]


def shares(counted: Mapping[str, int]) -> dict[str, float]:
    total = sum(counted.values())
    return {name: count / total for name, count in counted.items()}
