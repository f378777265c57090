"""The routes of texts and embeddings for the matrix of billing: each asked of a provider that speaks its dialect, and
(with usage given and absent) of one that speaks another."""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from posthouse.billing.prompt import count_request
from posthouse.billing.vocabulary import Vocabularies, Vocabulary
from posthouse.core.events import Event, Failed, Finished, TextDelta
from posthouse.core.requests import ModelRequest, Operation
from posthouse.core.usage import Usage
from posthouse.dialects import (
    anthropic_messages,
    gemini,
    openai_chat_head,
    openai_completions,
    openai_embeddings,
    openai_responses,
)
from posthouse.dialects.codec import Maker
from posthouse.dialects.codecs import codec_of
from tests.e2e.answers import asked, fault
from tests.e2e.billable import (
    COUNTED,
    REPORTS,
    SPARSE,
    STREAM_FREE,
    WHOLE_FREE,
    WHOLE_HEARD,
    Billable,
    Case,
    Streamed,
    Whole,
    sensible,
)
from tests.e2e.ends import TOLD, End, Told
from tests.e2e.house import ADMIN_KEY
from tests.e2e.speakers import SPEAKERS, Report
from tests.e2e.wire import request

WORDS: Final = ("One", " two", " three")
TEXT: Final = "".join(WORDS)


class Asked(NamedTuple):
    """A request without its model: where it is sent (of a model), its body, and how the house reads that. `names`: the
    body says which model, and whether the answer is streamed; else the path does. `array`: the answer is not events."""

    path: str
    body: dict[str, Any]
    decode: Callable[[bytes], ModelRequest]
    names: bool = True
    array: bool = False


_HELLO: Final = [{"role": "user", "content": "Hello"}]
_CONTENT: Final = {"role": "user", "parts": [{"text": "Hello"}]}
_GEMINI: Final = "/v1beta/models/{model}:"


def _read(body: bytes) -> ModelRequest:
    return gemini.decode_head(body, "m", False)


def _generates(verb: str, *, array: bool = False) -> Asked:
    return Asked(_GEMINI + verb, {"contents": [_CONTENT]}, _read, names=False, array=array)


def _embeds(_: bytes) -> ModelRequest:
    return openai_embeddings.decode_head(b'{"model": "m", "input": ["Hello"]}')


WHOLE: Final[dict[str, tuple[Operation, Asked]]] = {
    "chat.completions": ("chat.completions", Asked("/v1/chat/completions", asked(), openai_chat_head.decode_head)),
    "responses": ("responses", Asked("/v1/responses", {"input": "Hello"}, openai_responses.decode_head)),
    "messages": (
        "messages",
        Asked("/v1/messages", {"messages": _HELLO, "max_tokens": 50}, anthropic_messages.decode_head),
    ),
    "generate_content": ("generate_content", _generates("generateContent")),
    "completions": ("completions", Asked("/v1/completions", {"prompt": "Hello"}, openai_completions.decode_head)),
    "embeddings": ("embeddings", Asked("/v1/embeddings", {"input": "Hello"}, openai_embeddings.decode_head)),
    "embedContent": ("embeddings", Asked(_GEMINI + "embedContent", {"content": _CONTENT}, _embeds, names=False)),
}
# Nobody's API has a stream of embeddings.
STREAMED: Final[dict[str, tuple[Operation, Asked]]] = {
    **{name: found for name, found in WHOLE.items() if found[0] not in ("embeddings", "generate_content")},
    "generate_content": ("generate_content", _generates("streamGenerateContent?alt=sse")),
    "generate_content array": ("generate_content", _generates("streamGenerateContent", array=True)),
}
# Whoever speaks another dialect than the client.
OTHERS: Final[tuple[tuple[str, Operation], ...]] = (
    ("chat.completions", "messages"),
    ("chat.completions", "responses"),
    ("chat.completions", "generate_content"),
    ("responses", "chat.completions"),
    ("messages", "chat.completions"),
    ("messages", "responses"),
    ("generate_content", "chat.completions"),
    ("generate_content array", "chat.completions"),
    ("completions", "chat.completions"),
)


class Words(NamedTuple):
    """A client of a dialect, that reads the text of its events."""

    operation: Operation
    array: bool

    def content(self, came: bytes) -> str:
        return "".join(one.text for one in self._events(came) if isinstance(one, TextDelta))

    def wanted(self, answer: Whole | Streamed, end: End) -> str:
        return said(end)

    def ending(self, came: bytes) -> str:
        kinds = {type(one) for one in self._events(came)}
        assert not {Failed, Finished} <= kinds
        return "failed" if Failed in kinds else "finished" if Finished in kinds else ""

    def _events(self, came: bytes) -> Iterator[Event]:
        decoder = codec_of(self.operation).decoder(Maker("", "", ""))
        for event in _elements(came) if self.array else came.split(b"\n\n")[:-1]:
            yield from decoder.decode(event + b"\n\n")


def _elements(came: bytes) -> list[bytes]:
    """What is whole of an array of objects, as events."""
    text, at, found = came.decode(), 1, []
    decode = json.JSONDecoder().raw_decode
    while at < len(text):
        try:
            element, at = decode(text, at)
        except ValueError:
            break
        found.append(b"data: " + json.dumps(element).encode())
        at = len(text) - len(text[at:].lstrip(", \r\n"))
    return found


def said(end: End) -> str:
    """The text that comes before the gate."""
    return WORDS[0] if end in ("leaves mid", "leaves drained", "errors", "resets") else TEXT


@cache
def _vocabulary() -> Vocabulary:
    """That of a model that no family knows."""
    return Vocabularies().of("m")


def counted(text: str) -> int:
    return _vocabulary().count(text) if text else 0


@cache
def _prompt(name: str) -> int:
    """The input of a route's request, counted."""
    query = WHOLE[name.removesuffix(" array")][1]
    return count_request(query.decode(json.dumps({"model": "m", **query.body}).encode()), _vocabulary())


def _ask(query: Asked, *, stream: bool) -> Callable[[str, str], bytes]:
    def ask(account: str, model: str) -> bytes:
        named = {"model": model, **({"stream": True} if stream else {})} if query.names else {}
        return request(query.path.format(model=model), {**query.body, **named}, ADMIN_KEY)

    return ask


def _reported(operation: Operation) -> Callable[[Told], Usage | None]:
    def reported(told: Told) -> Usage | None:
        report = sensible(told)
        return None if report is None else usage_of(report, operation)

    return reported


def usage_of(report: Report, operation: Operation) -> Usage:
    """What is charged by a report that makes sense: the counts, however they are said to be divided."""
    read, written, odd = report
    made = 0 if operation == "embeddings" else written
    match odd:
        case "cached":
            return Usage(cache_read=read, output=made)
        case "reasoning":
            return Usage(input=read, reasoning=made)
        case _:
            return Usage(input=read, output=made)


def odd_of(wire: Operation) -> tuple[Told, ...]:
    """The ways to be absurd in a dialect."""
    counted: tuple[Told, ...] = COUNTED[:-1] if wire == "embeddings" else (*COUNTED[:-1], "output")
    beside: tuple[Told, ...] = ("cached", "reasoning", "total")
    return (*counted, *(one for one in beside if one in SPEAKERS[wire].odd))


def _whole(name: str, wire: Operation, tolds: Sequence[Told]) -> Billable:
    operation, query = WHOLE[name]
    text = "" if operation == "embeddings" else TEXT

    def answer(told: Told) -> Whole:
        body = SPEAKERS[wire].whole(TEXT, REPORTS[told])
        return Whole(body, refusal=(500, {**json.loads(body), **fault("The tank is empty.")}))

    def by_us(case: Case) -> Usage:
        # Where nothing of the answer was delivered, the provider has read the prompt.
        return Usage(input=_prompt(name), output=counted(text if case.end == "ends" else ""))

    return Billable(
        name if wire == operation else f"{name} over {wire}",
        operation,
        _account(wire),
        _ask(query, stream=False),
        answer,
        _reported(operation),
        by_us,
        {"tokens": tolds},
        WHOLE_HEARD,
        WHOLE_FREE,
        odd=odd_of(wire) if wire == operation else (),
    )


def _streamed(name: str, wire: Operation, tolds: Sequence[Told]) -> Billable:
    operation, query = STREAMED[name]
    speaker = SPEAKERS[wire]
    heard: set[End] = {"ends", "leaves drained"}
    heard |= {"leaves late"} if speaker.late else set()
    heard |= {"leaves mid", "errors", "resets"} if speaker.midway else set()

    def by_us(case: Case) -> Usage:
        # What was drained was seen by nobody, but it was made.
        seen = "" if case.end == "leaves early" else TEXT if case.end == "leaves drained" else said(case.end)
        return Usage(input=_prompt(name), output=counted(seen))

    return Billable(
        f"{name} streamed" if wire == operation else f"{name} streamed over {wire}",
        operation,
        _account(wire),
        _ask(query, stream=True),
        lambda told: streamed(wire, told),
        _reported(operation),
        by_us,
        {"tokens": tolds},
        frozenset(heard),
        STREAM_FREE,
        reading=Words(operation, query.array),
        odd=odd_of(wire) if wire == operation else (),
    )


def streamed(wire: Operation, told: Told) -> Streamed:
    """The words as a stream of this dialect."""
    speaker, reports = SPEAKERS[wire], REPORTS[told]
    return Streamed(
        begins=speaker.first(WORDS[0]),
        ends=[*(speaker.word(word) for word in WORDS[1:]), *speaker.end(reports)],
        last=[speaker.last(reports)],
        midway=[speaker.told(report) for report in reports],
        fault=speaker.fault("The tank is empty."),
    )


def _account(wire: Operation) -> tuple[str, str]:
    """One that speaks this dialect alone."""
    return f"texts-{wire}", "" if wire == "embeddings" else f'wires = ["{wire}"]'


ROUTES: Final = (
    *(_whole(name, operation, TOLD) for name, (operation, _) in WHOLE.items()),
    *(_whole(name, wire, SPARSE) for name, wire in OTHERS if name in WHOLE),
    *(_streamed(name, operation, TOLD) for name, (operation, _) in STREAMED.items()),
    *(_streamed(name, wire, SPARSE) for name, wire in OTHERS),
)
