"""A provider's answers in each dialect that one may speak: the same words, usage and failures in all of them."""

import json
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, NamedTuple

from posthouse.core.requests import Operation
from tests.e2e.answers import chunk, completion, fault
from tests.e2e.upstream import Visit

Odd = Literal["", "cached", "reasoning", "total"]
CLAIMED: Final = 9_999  # what a detail or a total claims that contradicts


class Report(NamedTuple):
    """What is told of usage, sensible or not: counts of input and of output, and what beside them contradicts them."""

    read: Any
    written: Any
    odd: Odd = ""

    @property
    def total(self) -> Any:
        if self.odd == "total":
            return CLAIMED
        return self.read + self.written if type(self.read) is type(self.written) is int else None

    @property
    def cached(self) -> int:
        return CLAIMED if self.odd == "cached" else 0

    @property
    def reasoning(self) -> int:
        return CLAIMED if self.odd == "reasoning" else 0


class Speaker(NamedTuple):
    """`whole` makes a body of text and reports of usage, the last of which stands. A stream is `first` (the beginning,
    and the first word), `word` for each more, `told` usage on the way, `end` (why it ends, with reports), `last`.

    midway  usage told on the way counts, so that a stream that breaks has it
    late    usage comes before the last event
    odd     what may contradict the counts: elsewhere it is a count of its own, or has no place
    """

    whole: Callable[[str, Sequence[Report]], bytes]
    first: Callable[[str], list[bytes]]
    word: Callable[[str], bytes]
    told: Callable[[Report], bytes]
    end: Callable[[Sequence[Report]], list[bytes]]
    last: Callable[[Sequence[Report]], bytes]
    fault: Callable[[str], bytes]
    midway: bool = True
    late: bool = True
    odd: tuple[Odd, ...] = ("cached", "reasoning", "total")


async def say(visit: Visit, events: Sequence[bytes]) -> None:
    for event in events:
        if event:
            await visit.frame(event)


def _data(payload: Any) -> bytes:
    return b"data: %b\n\n" % (payload if isinstance(payload, bytes) else json.dumps(payload).encode())


def _named(payload: dict[str, Any]) -> bytes:
    return b"event: %b\n%b" % (payload["type"].encode(), _data(payload))


def _with_reports(body: dict[str, Any], name: str, reports: Sequence[Any]) -> bytes:
    """The body with a member for each report: of a repeated one, the last stands."""
    members = [f'"{name}":{json.dumps(report)}' for report in reports]
    return (", ".join([json.dumps(body).removesuffix("}"), *members]) + "}").encode()


def _nothing(_: Any) -> bytes:
    return b""


# --- chat completions, completions -------------------------------
def _openai_usage(report: Report) -> dict[str, Any]:
    usage = {"prompt_tokens": report.read, "completion_tokens": report.written, "total_tokens": report.total}
    if report.odd == "cached":
        usage["prompt_tokens_details"] = {"cached_tokens": report.cached}
    if report.odd == "reasoning":
        usage["completion_tokens_details"] = {"reasoning_tokens": report.reasoning}
    return usage


def _chat_whole(text: str, reports: Sequence[Report]) -> bytes:
    return _with_reports(completion(text, usage=None), "usage", [_openai_usage(report) for report in reports])


CHAT: Final = Speaker(
    whole=_chat_whole,
    first=lambda text: [_data(chunk({"role": "assistant", "content": text}))],
    word=lambda text: _data(chunk({"content": text})),
    told=lambda tokens: _data(chunk({"content": ""}, usage=_openai_usage(tokens))),
    end=lambda reports: [
        _data(chunk({}, "stop")),
        *(_data(chunk(None, usage=_openai_usage(report))) for report in reports),
    ],
    last=lambda reports: _data(b"[DONE]"),
    fault=lambda message: _data(fault(message)),
)
_TEXT_HEAD: Final = {"id": "cmpl-1", "object": "text_completion", "created": 1_700_000_000, "model": "upstream-model"}


def _text_chunk(text: str | None, finish: str | None = None, tokens: Report | None = None) -> bytes:
    choices = [] if text is None else [{"text": text, "index": 0, "logprobs": None, "finish_reason": finish}]
    usage = {} if tokens is None else {"usage": _openai_usage(tokens)}
    return _data({**_TEXT_HEAD, "choices": choices, **usage})


def _text_whole(text: str, reports: Sequence[Report]) -> bytes:
    choices = [{"text": text, "index": 0, "logprobs": None, "finish_reason": "stop"}]
    body = {**_TEXT_HEAD, "choices": choices}
    return _with_reports(body, "usage", [_openai_usage(report) for report in reports])


COMPLETIONS: Final = Speaker(
    whole=_text_whole,
    first=lambda text: [_text_chunk(text)],
    word=_text_chunk,
    told=lambda tokens: _text_chunk("", tokens=tokens),
    end=lambda reports: [_text_chunk("", "stop"), *(_text_chunk(None, tokens=report) for report in reports)],
    last=lambda reports: _data(b"[DONE]"),
    fault=lambda message: _data(fault(message)),
)


# --- responses ---------------------------------------------------
def _response(status: str, text: str) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}]
    item = {"id": "msg_1", "type": "message", "status": status, "role": "assistant", "content": content}
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_700_000_000,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "model": "upstream-model",
        "output": [item] if text else [],
    }


def _responses_usage(report: Report) -> dict[str, Any]:
    return {
        "input_tokens": report.read,
        "input_tokens_details": {"cached_tokens": report.cached},
        "output_tokens": report.written,
        "output_tokens_details": {"reasoning_tokens": report.reasoning},
        "total_tokens": report.total,
    }


def _responses_whole(text: str, reports: Sequence[Report]) -> bytes:
    return _with_reports(_response("completed", text), "usage", [_responses_usage(report) for report in reports])


def _responses_first(text: str) -> list[bytes]:
    item = {"id": "msg_1", "type": "message", "status": "in_progress", "role": "assistant", "content": []}
    part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    return [
        _named({"type": "response.created", "response": _response("in_progress", "")}),
        _named({"type": "response.output_item.added", "output_index": 0, "item": item}),
        _named({"type": "response.content_part.added", **place, "part": part}),
        _responses_word(text),
    ]


def _responses_word(text: str) -> bytes:
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    return _named({"type": "response.output_text.delta", **place, "delta": text, "logprobs": []})


def _responses_last(reports: Sequence[Report]) -> bytes:
    body = _responses_whole("One two three", reports)
    return b'event: response.completed\ndata: {"type": "response.completed", "response": %b}\n\n' % body


RESPONSES: Final = Speaker(
    whole=_responses_whole,
    first=_responses_first,
    word=_responses_word,
    told=lambda tokens: _named(
        {
            "type": "response.in_progress",
            "response": {**_response("in_progress", ""), "usage": _responses_usage(tokens)},
        }
    ),
    end=lambda reports: [],
    last=_responses_last,
    fault=lambda message: _named({"type": "error", "code": "server_error", "message": message, "param": None}),
    midway=False,
    late=False,
)


# --- messages ----------------------------------------------------
_MESSAGE: Final = {"id": "msg_1", "type": "message", "role": "assistant", "model": "upstream-model"}


def _messages_usage(report: Report) -> dict[str, Any]:
    details = {"output_tokens_details": {"thinking_tokens": report.reasoning}} if report.reasoning else {}
    return {"input_tokens": report.read, "output_tokens": report.written, **details}


def _messages_whole(text: str, reports: Sequence[Report]) -> bytes:
    body = {**_MESSAGE, "content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "stop_sequence": None}
    return _with_reports(body, "usage", [_messages_usage(report) for report in reports])


def _messages_word(text: str) -> bytes:
    return _named({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}})


def _messages_end(reports: Sequence[Report]) -> list[bytes]:
    delta = {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}}
    ends = [{**delta, "usage": _messages_usage(report)} for report in reports] or [delta]
    return [_named({"type": "content_block_stop", "index": 0}), *map(_named, ends)]


MESSAGES: Final = Speaker(
    whole=_messages_whole,
    first=lambda text: [
        _named({"type": "message_start", "message": {**_MESSAGE, "content": [], "stop_reason": None}}),
        _named({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        _messages_word(text),
    ],
    word=_messages_word,
    told=_nothing,
    end=_messages_end,
    last=lambda reports: _named({"type": "message_stop"}),
    fault=lambda message: _named({"type": "error", "error": {"type": "api_error", "message": message}}),
    midway=False,
    odd=("reasoning",),
)


# --- generate_content --------------------------------------------
def _gemini(text: str, finish: str | None = None, tokens: Report | None = None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0}
    body: dict[str, Any] = {"candidates": [candidate], "modelVersion": "upstream-model", "responseId": "r1"}
    if finish is not None:
        candidate["finishReason"] = finish
    if tokens is not None:
        body["usageMetadata"] = _gemini_usage(tokens)
    return body


def _gemini_usage(report: Report) -> dict[str, Any]:
    cached = {"cachedContentTokenCount": report.cached} if report.cached else {}
    counts = {"promptTokenCount": report.read, "candidatesTokenCount": report.written}
    return {**counts, "totalTokenCount": report.total, **cached}


def _gemini_whole(text: str, reports: Sequence[Report]) -> bytes:
    return _with_reports(_gemini(text, "STOP"), "usageMetadata", [_gemini_usage(report) for report in reports])


def _gemini_end(reports: Sequence[Report]) -> list[bytes]:
    told: list[Report | None] = [*reports] or [None]
    *before, last = told
    return [*(_data(_gemini("", tokens=report)) for report in before), _data(_gemini("", "STOP", last))]


GENERATE_CONTENT: Final = Speaker(
    whole=_gemini_whole,
    first=lambda text: [_data(_gemini(text))],
    word=lambda text: _data(_gemini(text)),
    told=lambda tokens: _data(_gemini("", tokens=tokens)),
    end=_gemini_end,
    last=_nothing,
    fault=lambda message: _data({"error": {"code": 500, "message": message, "status": "INTERNAL"}}),
    odd=("cached", "total"),
)


# --- embeddings: whole only --------------------------------------
def _embedding_usage(report: Report) -> dict[str, Any]:
    return {"prompt_tokens": report.read, **({"total_tokens": CLAIMED} if report.odd == "total" else {})}


def _vectors(text: str, reports: Sequence[Report]) -> bytes:
    data = [{"object": "embedding", "index": 0, "embedding": [0.5, 1.5]}]
    body = {"object": "list", "data": data, "model": "upstream-model"}
    return _with_reports(body, "usage", [_embedding_usage(report) for report in reports])


SPEAKERS: Final[dict[Operation, Speaker]] = {
    "chat.completions": CHAT,
    "responses": RESPONSES,
    "messages": MESSAGES,
    "generate_content": GENERATE_CONTENT,
    "completions": COMPLETIONS,
    "embeddings": CHAT._replace(whole=_vectors, odd=("total",)),
}
