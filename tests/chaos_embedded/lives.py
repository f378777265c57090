"""Clients that ask a house while something happens to it, life after life, and what they have seen."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import count
from random import Random
from typing import Any, Final, Literal, NamedTuple

from tests.e2e.answers import asked, chunk, completion
from tests.e2e.upstream import Visit
from tests.e2e.wire import Wire, request

CHAT: Final = "/v1/chat/completions"
CLIENTS: Final = 6
READ: Final = 3
INPUT_NANO, OUTPUT_NANO = 1_000, 10_000

How = Literal["whole", "stream", "leaves", "resets"]
_HOWS: Final[tuple[How, ...]] = ("whole", "whole", "stream", "stream", "stream", "leaves", "resets")


def nano_of(number: int) -> int:
    """What the answer to a request costs: no two numbers the same."""
    return READ * INPUT_NANO + number * OUTPUT_NANO


async def counts_tokens(visit: Visit) -> None:
    """Answers with as many tokens of output as the request's `seed` says, in `n` pieces where it is streamed. One whose
    `user` is `resets` breaks off in the middle."""
    body = visit.json
    number, pieces = body["seed"], len(body["messages"])
    usage = {"prompt_tokens": READ, "completion_tokens": number, "total_tokens": READ + number}
    if not body.get("stream"):
        await visit.whole(completion(usage=usage))
        return
    await visit.start_stream()
    for piece in range(pieces):
        await visit.event(chunk({"content": "a"}))
        if body["user"] == "resets" and piece == pieces // 2:
            visit.reset()
            return
    for event in (chunk({"content": "b"}, "stop"), chunk(None, usage=usage), "[DONE]"):
        await visit.event(event)
    await visit.end_stream()


class Seen(NamedTuple):
    """An answer that a client saw whole, and what it must have cost."""

    id: str
    nano: int


class Load:
    """`keys` are asked with in turn. `seen` are the whole answers, `begun` the ids of all that a status of success came
    for, `statuses` how many of which status came."""

    def __init__(self, random: Random, keys: Sequence[str]) -> None:
        self.seen: list[Seen] = []
        self.begun: set[str] = set()
        self.statuses: Counter[int] = Counter()
        self.asked = 0
        self._random = random
        self._keys = keys
        self._numbers = count(1)
        self._lock = threading.Lock()
        self._pieces = 0
        self._until = 0
        self._enough = threading.Event()
        self._over = threading.Event()

    def until(self, port: int, pieces: int, then: Callable[[], None]) -> None:
        """Asks until so many pieces of answers have come, and does `then` in the midst of whatever is under way.
        Clients end with what they are at, or with the house."""
        self._enough.clear()
        self._over.clear()
        self._pieces, self._until = 0, pieces
        clients = [threading.Thread(target=self._client, args=(port, self._random.random())) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        try:
            assert self._enough.wait(30), "the house answers no more"
            then()
        finally:
            self._over.set()
        for client in clients:
            client.join(30)
            assert not client.is_alive()

    def _client(self, port: int, seed: float) -> None:
        random = Random(seed)
        try:
            while not self._over.is_set():
                with Wire(port) as wire:
                    while self._ask(wire, random) and not self._over.is_set():
                        pass
        except (AssertionError, ConnectionError):
            return  # the house has died, perhaps in the middle of an answer

    def _ask(self, wire: Wire, random: Random) -> bool:
        """False where the connection is no more."""
        how = random.choice(_HOWS)
        with self._lock:
            number = next(self._numbers)
            self.asked += 1
        key = self._keys[number % len(self._keys)]
        wire.send(request(CHAT, _body(how, number, random.randint(1, 30)), key))
        status, headers = wire.head()
        with self._lock:
            self.statuses[status] += 1
            if status == 200:
                self.begun.add(headers["x-request-id"])
        if status != 200 or how == "whole":
            body = wire.exactly(int(headers["content-length"]))
            self._came()
        else:
            body = b""
            for piece in wire.pieces():
                body += piece
                self._came()
                if how == "leaves" and random.random() < 0.3:
                    return False
        if status == 200 and (how == "whole" or body.endswith(b"data: [DONE]\n\n")):
            with self._lock:
                self.seen.append(Seen(headers["x-request-id"], nano_of(number)))
        return True

    def _came(self) -> None:
        with self._lock:
            self._pieces += 1
            if self._pieces >= self._until:
                self._enough.set()


def _body(how: How, number: int, pieces: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": "Hello"}] * (1 if how == "whole" else pieces)
    return asked(stream=how != "whole", seed=number, user=how, messages=messages, max_tokens=number)
