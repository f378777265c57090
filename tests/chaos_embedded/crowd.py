"""Twenty who ask at the same moment, of a budget that covers some of them."""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, Final, Literal, NamedTuple

from posthouse.billing.estimate import rough_input_tokens
from posthouse.core.money import format_nano
from posthouse.dialects.openai_chat_head import decode_head
from tests.e2e.answers import chunk, completion
from tests.e2e.house import ADMIN_KEY, RunningHouse
from tests.e2e.upstream import Gate, Script, Upstream, Visit
from tests.e2e.wire import Response, Wire, eventually, request

CHAT: Final = "/v1/chat/completions"
CROWD: Final = 20
CAP: Final = 20
DEFAULT_CAP: Final = 4096
LEAST: Final = 64  # tokens of output that a caller without a cap is content with
WRITTEN: Final = 20
INPUT_NANO, OUTPUT_NANO = 1_000, 10_000

Level = Literal["key", "account", "above"]
LEVELS: Final[tuple[Level, ...]] = ("key", "account", "above")


class Wish(NamedTuple):
    """What each of them asks for."""

    streamed: bool
    capped: bool

    @property
    def body(self) -> bytes:
        more = {"stream": True} if self.streamed else {}
        cap = {"max_tokens": CAP} if self.capped else {}
        return json.dumps({"model": "m", "messages": [{"role": "user", "content": "Hi"}], **more, **cap}).encode()

    @property
    def read(self) -> int:
        return rough_input_tokens(decode_head(self.body))

    def reserve(self, output: int) -> int:
        return self.read * INPUT_NANO + output * OUTPUT_NANO

    @property
    def most(self) -> int:
        """What is held for one, where that is there."""
        return self.reserve(CAP if self.capped else DEFAULT_CAP)

    @property
    def least(self) -> int:
        """With as much one is admitted."""
        return self.reserve(CAP if self.capped else LEAST)

    @property
    def cost(self) -> int:
        return self.reserve(WRITTEN)

    def __str__(self) -> str:
        return f"{'stream' if self.streamed else 'whole'}-{'capped' if self.capped else 'uncapped'}"


WISHES: Final = tuple(Wish(streamed, capped) for streamed in (False, True) for capped in (True, False))


class Budgeted(NamedTuple):
    """Who shares a budget of `amount` nano-units: the secrets of some keys."""

    keys: Sequence[str]
    amount: int


def budgeted(house: RunningHouse, level: Level, amount: int) -> Budgeted:
    """A budget of a key; of an account with two keys; of an account above two accounts, each with a key whose own
    budget is no matter."""
    budget = {"amount": format_nano(amount), "currency": "USD"}
    with house.wire() as wire:

        def made(what: str, **wish: object) -> Any:
            answer = wire.ask(f"/admin/api/{what}", wish, ADMIN_KEY)
            assert answer.status == 201, answer
            return answer.json

        if level == "key":
            return Budgeted([made("keys", name="t", budget=budget)["key"]], amount)
        name = house.house.ids.make(level)
        owner = made("accounts", name=name, budget=budget)["id"]
        if level == "account":
            return Budgeted([made("keys", name=one, account=owner)["key"] for one in "ab"], amount)
        below = [made("accounts", name=f"{name}-{one}", parent=owner)["id"] for one in "ab"]
        roomy = {"amount": "1000", "currency": "USD"}
        return Budgeted([made("keys", name="t", account=one, budget=roomy)["key"] for one in below], amount)


def answering(wish: Wish, gate: Gate | None) -> Script:
    """An answer that costs `wish.cost`, when the gate is open."""
    usage = {"prompt_tokens": wish.read, "completion_tokens": WRITTEN, "total_tokens": wish.read + WRITTEN}

    async def script(visit: Visit) -> None:
        if not wish.streamed:
            if gate is not None:
                await gate.passed(visit)
            await visit.whole(completion(usage=usage))
            return
        await visit.start_stream()
        await visit.event(chunk({"content": "a"}))
        if gate is not None:
            await gate.passed(visit)
        for event in (chunk({"content": "b"}, "stop"), chunk(None, usage=usage), "[DONE]"):
            await visit.event(event)
        await visit.end_stream()

    return script


def ask(port: int, wish: Wish, key: str) -> Response:
    with Wire(port) as wire:
        wire.send(request(CHAT, wish.body, key))
        return wire.response()


def crowd(ports: Sequence[int], upstream: Upstream, wish: Wish, who: Budgeted, covered: int) -> list[Response]:
    """All ask at once, over all the ports. Nobody is answered before exactly `covered` have reached the provider and
    all others were refused; what they all got."""
    upstream.forget()
    gate = upstream.gate()
    upstream.scripts["m"] = answering(wish, gate)
    with ThreadPoolExecutor(CROWD) as pool, closing(_Opening(gate.open)):
        asked = [
            pool.submit(ask, ports[number % len(ports)], wish, who.keys[number % len(who.keys)])
            for number in range(CROWD)
        ]
        eventually(lambda: sum(one.done() for one in asked) >= CROWD - covered, "too many were admitted")
        eventually(lambda: len(upstream.visits) >= covered, "too few were admitted")
        assert sum(one.done() for one in asked) == CROWD - covered
        assert len(upstream.visits) == covered
        gate.open()
        return [one.result() for one in asked]


class _Opening:
    """Opens a gate when it is closed itself, so that nobody waits behind a test that has failed."""

    def __init__(self, close: Callable[[], None]) -> None:
        self.close = close


def check(answers: Sequence[Response], wish: Wish, covered: int) -> None:
    """So many have their whole answer, and the others are told that the money is gone and no retry will help."""
    good = [one for one in answers if one.status == 200]
    assert len(good) == covered
    assert not wish.streamed or all(one.body.endswith(b"data: [DONE]\n\n") for one in good)
    for one in answers:
        if one.status != 200:
            assert (one.status, one.error["code"]) == (429, "insufficient_quota")
            assert one.headers["x-should-retry"] == "false"
