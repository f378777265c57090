"""One turn of a model in the words of each dialect, whole and streamed, and what clients of each send back of it.

The turn has all that a turn may have: a thought that is shown and one that is not, each with a state where the dialect
has any, words, and two calls at once. Nothing here is made by a codec.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any, Final

from posthouse.core.requests import Operation
from posthouse.dialects.sse import data_of, split_events

Json = dict[str, Any]

THOUGHT: Final = "I look."
WORDS: Final = "Let me see."
CALLS: Final = (("call_1", "look", {"city": "Oslo"}), ("call_2", "look", {"city": "Rome"}))
TOKENS: Final = (5, 3)
STATES: Final = ("gA+/=", "hB==")
_FIRST, _SECOND = [json.dumps(call[2]) for call in CALLS]

# The spaces are the provider's own: state goes back byte for byte.
ITEMS: Final = [
    b'{"type":"reasoning", "id":"rs_1","summary":[{"type":"summary_text","text":"I look."}],'
    b'"encrypted_content":"gA+/="}',
    b'{"type":"message","id":"msg_1","role":"assistant","status":"completed","content":[{"type":"output_text",'
    b'"text":"Let me see.","annotations":[]}]}',
    b'{"type":"reasoning","id":"rs_2", "summary":[],"encrypted_content":"hB==","status":null}',
    *(
        json.dumps(
            {"type": "function_call", "id": f"fc_{one[0]}", "call_id": one[0], "name": one[1], "arguments": text}
        ).encode()
        for one, text in zip(CALLS, (_FIRST, _SECOND), strict=True)
    ),
]
BLOCKS: Final = [
    b'{"type":"thinking", "thinking":"I look.","signature":"gA+/="}',
    b'{"type":"text","text":"Let me see."}',
    b'{"type":"redacted_thinking",  "data":"hB=="}',
    *(json.dumps({"type": "tool_use", "id": one[0], "name": one[1], "input": one[2]}).encode() for one in CALLS),
]
PARTS: Final = [
    b'{"text":"I look.","thought":true}',
    b'{"text":"Let me see.","thoughtSignature":"gA+/="}',
    b'{"functionCall":{"id":"call_1","name":"look","args":{"city": "Oslo"}},"thoughtSignature":"hB=="}',
    b'{"functionCall":{"id":"call_2","name":"look","args":{"city": "Rome"}}}',
]
_MESSAGE: Final[Json] = {
    "role": "assistant",
    "content": WORDS,
    "reasoning_content": THOUGHT,
    "tool_calls": [
        {"id": one[0], "type": "function", "function": {"name": one[1], "arguments": json.dumps(one[2])}}
        for one in CALLS
    ],
}
_CHAT_USAGE: Final = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
_GEMINI_USAGE: Final = b'"usageMetadata":{"promptTokenCount":5,"candidatesTokenCount":3,"totalTokenCount":8}'
WHOLE: Final[dict[Operation, bytes]] = {
    "chat.completions": json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": "m",
            "choices": [{"index": 0, "message": _MESSAGE, "finish_reason": "tool_calls"}],
            "usage": _CHAT_USAGE,
        }
    ).encode(),
    "responses": b'{"id":"resp_1","object":"response","created_at":1700000000,"status":"completed","model":"m",'
    b'"error":null,"incomplete_details":null,'
    b'"output":[%b],"usage":{"input_tokens":5,"output_tokens":3,"total_tokens":8}}' % b",".join(ITEMS),
    "messages": b'{"id":"msg_1","type":"message","role":"assistant","model":"m","stop_reason":"tool_use",'
    b'"content":[%b],"usage":{"input_tokens":5,"output_tokens":3}}' % b",".join(BLOCKS),
    "generate_content": b'{"candidates":[{"content":{"role":"model","parts":[%b]},"finishReason":"STOP"}],%b}'
    % (b",".join(PARTS), _GEMINI_USAGE),
}


def _event(payload: bytes) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (json.loads(payload)["type"].encode(), payload)


def _of_items() -> bytes:
    done = [b'{"type":"response.output_item.done","output_index":%d,"item":%b}' % one for one in enumerate(ITEMS)]
    return b"".join(map(_event, [*done, b'{"type":"response.completed","response":%b}' % WHOLE["responses"]]))


def _of_blocks() -> bytes:
    events: list[Json] = [{"type": "message_start", "message": {"id": "msg_1"}}]
    for index, block in enumerate(map(json.loads, BLOCKS)):
        pieces = [("thinking_delta", "thinking"), ("signature_delta", "signature"), ("text_delta", "text")]
        deltas = [{"type": kind, member: block[member]} for kind, member in pieces if member in block]
        begun = {**block, **{member: "" for _, member in pieces if member in block}}
        if "input" in block:
            text = json.dumps(begun["input"])
            begun["input"] = {}
            deltas += [{"type": "input_json_delta", "partial_json": piece} for piece in (text[:5], text[5:])]
        events.append({"type": "content_block_start", "index": index, "content_block": begun})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    usage = {"input_tokens": 5, "output_tokens": 3}
    events += [
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": usage},
        {"type": "message_stop"},
    ]
    return b"".join(_event(json.dumps(event).encode()) for event in events)


def _of_deltas() -> bytes:
    calls = [{"index": index, **call} for index, call in enumerate(_MESSAGE["tool_calls"])]
    deltas: list[Json] = [{"role": "assistant"}, {"reasoning_content": THOUGHT}, {"content": WORDS}]
    deltas += [{"tool_calls": [call]} for call in calls]
    choices: list[list[Json]] = [[{"index": 0, "delta": delta, "finish_reason": None}] for delta in deltas]
    choices += [[{"index": 0, "delta": {}, "finish_reason": "tool_calls"}], []]
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "m"}
    chunks = [{**head, "choices": one, **({} if one else {"usage": _CHAT_USAGE})} for one in choices]
    return b"".join(b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in chunks) + b"data: [DONE]\n\n"


STREAMS: Final[dict[Operation, bytes]] = {
    "chat.completions": _of_deltas(),
    "responses": _of_items(),
    "messages": _of_blocks(),
    "generate_content": b"".join(
        b'data: {"candidates":[{"content":{"role":"model","parts":[%b]}}]}\n\n' % part for part in PARTS
    )
    + b'data: {"candidates":[{"finishReason":"STOP"}],%b}\n\n' % _GEMINI_USAGE,
}
# Each state as it stands in a body for its maker, who has told of it whole.
OWN_STATES: Final[dict[Operation, tuple[bytes, bytes]]] = {
    "responses": (ITEMS[0], ITEMS[2]),
    "messages": (BLOCKS[0], BLOCKS[2]),
    "generate_content": (b'"gA+/="', b'"hB=="'),
}


# --- what clients keep of a stream: an answer as they would have got it whole ------------------
def kept(client: Operation, stream: bytes) -> Json:
    payloads = [json.loads(data) for event in split_events(stream) if (data := data_of(event)) and data != b"[DONE]"]
    return _KEPT[client](payloads)


def _message_of(chunks: list[Json]) -> Json:
    message: Json = {"role": "assistant", "content": "", "reasoning_content": "", "reasoning_details": []}
    calls: dict[int, Json] = {}
    for delta in [choice["delta"] for chunk in chunks for choice in chunk["choices"]]:
        for member in ("content", "reasoning_content"):
            message[member] += delta.get(member) or ""
        message["reasoning_details"] += delta.get("reasoning_details", [])
        for piece in delta.get("tool_calls", ()):
            call = calls.setdefault(piece["index"], {**piece, "function": {"name": "", "arguments": ""}})
            for member, text in piece["function"].items():
                call["function"][member] += text
    reasons = [one["finish_reason"] for chunk in chunks for one in chunk["choices"] if one["finish_reason"]]
    return {
        "choices": [{"message": {**message, "tool_calls": list(calls.values())}, "finish_reason": reasons[-1]}],
        "usage": next((chunk["usage"] for chunk in chunks if chunk.get("usage")), None),
    }


def _content_of(events: list[Json]) -> Json:
    blocks: list[Json] = []
    inputs: dict[int, str] = {}
    for event in events:
        if event["type"] == "content_block_start":
            blocks.append(event["content_block"])
        elif event["type"] == "content_block_delta":
            for member, text in event["delta"].items():
                if member == "partial_json":
                    inputs[event["index"]] = inputs.get(event["index"], "") + text
                elif member != "type":
                    blocks[-1][member] += text
    for index, text in inputs.items():
        blocks[index]["input"] = json.loads(text)
    (end,) = [event for event in events if event["type"] == "message_delta"]
    return {"content": blocks, "stop_reason": end["delta"]["stop_reason"], "usage": end["usage"]}


def _parts_of(chunks: list[Json]) -> Json:
    parts = [part for chunk in chunks for part in chunk["candidates"][0].get("content", {}).get("parts", ())]
    last = chunks[-1]
    candidate = {"content": {"role": "model", "parts": parts}, "finishReason": last["candidates"][0]["finishReason"]}
    return {"candidates": [candidate], "usageMetadata": last["usageMetadata"]}


def _text_of(chunks: list[Json]) -> Json:
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    text = "".join(choice["text"] for choice in choices)
    reasons = [one["finish_reason"] for one in choices if one["finish_reason"]]
    return {
        "choices": [{"text": text, "finish_reason": reasons[-1]}],
        "usage": next((chunk["usage"] for chunk in chunks if chunk.get("usage")), None),
    }


_KEPT: Final[dict[Operation, Callable[[list[Json]], Json]]] = {
    "chat.completions": _message_of,
    "responses": lambda events: dict(events[-1]["response"]),  # its last event repeats the answer
    "messages": _content_of,
    "generate_content": _parts_of,
    "completions": _text_of,
}


# --- what clients send back -------------------------------------------------------------------
USER: Final = {"role": "user", "content": "Go on."}


def _results() -> Iterator[tuple[str, str, str]]:
    for call_id, name, arguments in CALLS:
        yield call_id, name, f"found {arguments['city']}"


def replayed(client: Operation, answer: Json) -> Json:
    """The request after this answer: what was asked, the answer as it came, and the results of both calls."""
    return _REPLAYED[client](answer)


_REPLAYED: Final[dict[Operation, Callable[[Json], Json]]] = {
    "chat.completions": lambda answer: {
        "messages": [
            USER,
            answer["choices"][0]["message"],
            *({"role": "tool", "tool_call_id": one[0], "content": one[2]} for one in _results()),
        ]
    },
    "responses": lambda answer: {
        "input": [
            USER,
            *answer["output"],
            *({"type": "function_call_output", "call_id": one[0], "output": one[2]} for one in _results()),
        ]
    },
    "messages": lambda answer: {
        "max_tokens": 4000,
        "messages": [
            USER,
            {"role": "assistant", "content": answer["content"]},
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": one[0], "content": one[2]} for one in _results()],
            },
        ],
    },
    "generate_content": lambda answer: {
        "contents": [
            {"role": "user", "parts": [{"text": USER["content"]}]},
            answer["candidates"][0]["content"],
            {
                "role": "user",
                "parts": [
                    {"functionResponse": {"id": one[0], "name": one[1], "response": {"output": one[2]}}}
                    for one in _results()
                ],
            },
        ]
    },
}
