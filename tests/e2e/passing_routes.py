"""The endpoints of a provider's own interface that are charged by tokens, for the matrix of billing: docs/billing.md,
PASS."""

import json
from collections.abc import Callable
from typing import Final

from posthouse.billing.rough import RoughCount
from posthouse.core.requests import Operation
from posthouse.core.usage import Usage
from tests.e2e.billable import REPORTS, Billable, Case, Streamed, Whole, sensible
from tests.e2e.ends import TOLD, End, Told
from tests.e2e.house import ADMIN_KEY
from tests.e2e.speakers import SPEAKERS
from tests.e2e.text_routes import TEXT, counted, odd_of, said, streamed, usage_of
from tests.e2e.wire import request

# Whole, and streamed.
PATHS: Final[dict[Operation, tuple[str, str]]] = {
    "chat.completions": ("chat/completions", "chat/completions"),
    "responses": ("responses", "responses"),
    "messages": ("messages", "messages"),
    "generate_content": ("models/{model}:generateContent", "models/{model}:streamGenerateContent?alt=sse"),
    "completions": ("completions", "completions"),
    "embeddings": ("embeddings", "embeddings"),
}
_LACKS: Final[dict[End, str]] = {"leaves pause": "what failed is the client's to ask for again"}


def body_of(wire: Operation, model: str, *, stream: bool) -> bytes:
    if wire == "generate_content":
        return json.dumps({"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}).encode()
    return json.dumps({"input": "Hello", "model": model, **({"stream": True} if stream else {})}).encode()


def rough(body: bytes) -> int:
    """What a body is held for, in tokens of input."""
    count = RoughCount()
    count.feed(body)
    return count.tokens


def _ask(wire: Operation, *, stream: bool) -> Callable[[str, str], bytes]:
    def ask(account: str, model: str) -> bytes:
        path = PATHS[wire][1 if stream else 0].format(model=model)
        return request(f"/providers/{account}/{path}", body_of(wire, model, stream=stream), ADMIN_KEY)

    return ask


def _reported(wire: Operation) -> Callable[[Told], Usage | None]:
    def reported(told: Told) -> Usage | None:
        report = sensible(told)
        return None if report is None else usage_of(report, wire)

    return reported


def _whole(wire: Operation) -> Billable:
    def answer(told: Told) -> Whole:
        return Whole(SPEAKERS[wire].whole(TEXT, REPORTS[told]))

    def by_us(case: Case) -> Usage:
        came = 0 if wire == "embeddings" else len(answer(case.told).until(case.end))
        return Usage(input=rough(body_of(wire, case.model, stream=False)), output=came * 2 // 5)

    return Billable(
        f"passing {wire}",
        "passthrough",
        ("passing", "passthrough = true"),
        _ask(wire, stream=False),
        answer,
        _reported(wire),
        by_us,
        {"tokens": TOLD},
        heard=frozenset(("ends", "leaves late", "resets")),
        free=frozenset(("errors",)),
        lacks=_LACKS,
        odd=odd_of(wire),
        as_is=True,
        passes=True,
    )


def _streamed(wire: Operation) -> Billable:
    speaker = SPEAKERS[wire]
    heard: set[End] = {"ends"}
    heard |= {"leaves late"} if speaker.late else set()
    heard |= {"leaves mid", "errors", "resets"} if speaker.midway else set()

    def by_us(case: Case) -> Usage:
        words = "" if case.end == "leaves early" else said(case.end)  # nobody drains what passes
        return Usage(input=rough(body_of(wire, case.model, stream=True)), output=counted(words))

    def answer(told: Told) -> Streamed:
        return streamed(wire, told)

    return Billable(
        f"passing {wire} streamed",
        "passthrough",
        ("passing", "passthrough = true"),
        _ask(wire, stream=True),
        answer,
        _reported(wire),
        by_us,
        {"tokens": TOLD},
        heard=frozenset(heard),
        free=frozenset(),
        lacks=_LACKS,
        odd=odd_of(wire),
        as_is=True,
        passes=True,
    )


ROUTES: Final = (*(_whole(wire) for wire in PATHS), *(_streamed(wire) for wire in PATHS if wire != "embeddings"))
