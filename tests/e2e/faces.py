"""What clients of each text dialect ask, and how they read what they are told; and how a provider of each reads what it
was asked. Nothing here is made by a codec."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from posthouse.core.requests import Operation

Json = dict[str, Any]
Call = tuple[str, str, Any]

PIXEL: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
_DATA_URL: Final = f"data:image/png;base64,{PIXEL}"
SCHEMA: Final[Json] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
_LOOK: Final = {"name": "look", "description": "Looks at a city."}
_SHAPE: Final = {"name": "place", "schema": SCHEMA, "strict": True}
_OPENAI: Final = {400: "invalid_request_error", 429: "rate_limit_error", 502: "upstream_error", 503: "upstream_error"}


class Face(NamedTuple):
    """`path` of a model, whole or streamed. `ask` gives the members of a request; `tools`, `schema` and `usage` (in a
    stream) are added to them, `image` stands alone. The rest reads answers: `words`, `calls` (id, name, arguments),
    `tokens` of input and output, `why` it ended; and errors: type and message, `kinds` by status, `broke`: whether an
    event tells of one."""

    path: Callable[[str, bool], str]
    ask: Callable[[str], Json]
    words: Callable[[Json], str]
    tokens: Callable[[Json], tuple[int, int]]
    why: Callable[[Json], str]
    error: Callable[[Json], tuple[str, str]]
    kinds: Mapping[int, str]
    broke: Callable[[Json], bool]
    calls: Callable[[Json], list[Call]] = lambda answer: []
    tools: Json | None = None
    schema: Json | None = None
    image: Json | None = None
    usage: Mapping[str, Any] = {}


def _openai_error(body: Json) -> tuple[str, str]:
    return body["error"]["type"], body["error"]["message"]


def _broke(event: Json) -> bool:
    return bool(event.get("error"))


def _message(answer: Json) -> Json:
    found: Json = answer["choices"][0]["message"]
    return found


def _parts(answer: Json) -> list[Json]:
    found: list[Json] = answer["candidates"][0]["content"]["parts"]
    return found


def _said(answer: Json) -> list[Json]:
    return [part for item in answer["output"] if item["type"] == "message" for part in item["content"]]


def _openai_tokens(answer: Json) -> tuple[int, int]:
    return answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]


def _tokens(answer: Json) -> tuple[int, int]:
    return answer["usage"]["input_tokens"], answer["usage"]["output_tokens"]


FACES: Final[dict[Operation, Face]] = {
    "chat.completions": Face(
        path=lambda model, stream: "/v1/chat/completions",
        ask=lambda words: {"messages": [{"role": "user", "content": words}]},
        words=lambda answer: str(_message(answer)["content"]),
        tokens=_openai_tokens,
        why=lambda answer: str(answer["choices"][0]["finish_reason"]),
        error=_openai_error,
        kinds=_OPENAI,
        broke=_broke,
        calls=lambda answer: [
            (one["id"], one["function"]["name"], json.loads(one["function"]["arguments"]))
            for one in _message(answer)["tool_calls"]
        ],
        tools={"tools": [{"type": "function", "function": {**_LOOK, "parameters": SCHEMA}}]},
        schema={"response_format": {"type": "json_schema", "json_schema": _SHAPE}},
        image={
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "What is it?"},
                        {"type": "image_url", "image_url": {"url": _DATA_URL}},
                    ],
                }
            ]
        },
        usage={"stream_options": {"include_usage": True}},
    ),
    "responses": Face(
        path=lambda model, stream: "/v1/responses",
        ask=lambda words: {"input": words},
        words=lambda answer: "".join(part["text"] for part in _said(answer)),
        tokens=_tokens,
        why=lambda answer: str((answer["incomplete_details"] or {}).get("reason") or answer["status"]),
        error=_openai_error,
        kinds=_OPENAI,
        broke=lambda event: event["type"] in ("error", "response.failed"),
        calls=lambda answer: [
            (one["call_id"], one["name"], json.loads(one["arguments"]))
            for one in answer["output"]
            if one["type"] == "function_call"
        ],
        tools={"tools": [{"type": "function", **_LOOK, "parameters": SCHEMA}]},
        schema={"text": {"format": {"type": "json_schema", **_SHAPE}}},
        image={
            "input": [
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "What is it?"},
                        {"type": "input_image", "image_url": _DATA_URL},
                    ],
                }
            ]
        },
    ),
    "messages": Face(
        path=lambda model, stream: "/v1/messages",
        ask=lambda words: {"max_tokens": 100, "messages": [{"role": "user", "content": words}]},
        words=lambda answer: "".join(block.get("text", "") for block in answer["content"]),
        tokens=_tokens,
        why=lambda answer: str(answer["stop_reason"]),
        error=_openai_error,
        kinds={
            400: "invalid_request_error",
            429: "rate_limit_error",
            502: "api_error",
            503: "overloaded_error",
        },
        broke=lambda event: event["type"] == "error",
        calls=lambda answer: [
            (one["id"], one["name"], one["input"]) for one in answer["content"] if one["type"] == "tool_use"
        ],
        tools={"tools": [{**_LOOK, "input_schema": SCHEMA}]},
        schema={"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        image={
            "max_tokens": 100,
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "What is it?"},
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
                    ],
                }
            ],
        },
    ),
    "generate_content": Face(
        path=lambda model, stream: (
            f"/v1beta/models/{model}:{'streamGenerateContent?alt=sse' if stream else 'generateContent'}"
        ),
        ask=lambda words: {"contents": [{"role": "user", "parts": [{"text": words}]}]},
        words=lambda answer: "".join(part.get("text", "") for part in _parts(answer) if not part.get("thought")),
        tokens=lambda answer: (
            answer["usageMetadata"]["promptTokenCount"],
            answer["usageMetadata"]["candidatesTokenCount"],
        ),
        why=lambda answer: str(answer["candidates"][0]["finishReason"]),
        error=lambda body: (body["error"]["status"], body["error"]["message"]),
        kinds={400: "INVALID_ARGUMENT", 429: "RESOURCE_EXHAUSTED", 502: "UNAVAILABLE", 503: "UNAVAILABLE"},
        broke=_broke,
        calls=lambda answer: [
            (part["functionCall"]["id"], part["functionCall"]["name"], part["functionCall"]["args"])
            for part in _parts(answer)
            if "functionCall" in part
        ],
        tools={"tools": [{"functionDeclarations": [{**_LOOK, "parametersJsonSchema": SCHEMA}]}]},
        schema={"generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}},
        image={
            "contents": [
                {
                    "role": "user",
                    "parts": [
                        {"text": "What is it?"},
                        {"inlineData": {"mimeType": "image/png", "data": PIXEL}},
                    ],
                }
            ]
        },
    ),
    "completions": Face(
        path=lambda model, stream: "/v1/completions",
        ask=lambda words: {"prompt": words, "max_tokens": 100},
        words=lambda answer: str(answer["choices"][0]["text"]),
        tokens=_openai_tokens,
        why=lambda answer: str(answer["choices"][0]["finish_reason"]),
        error=_openai_error,
        kinds=_OPENAI,
        broke=_broke,
        usage={"stream_options": {"include_usage": True}},
    ),
}
# Why an answer ended that said all it had to, one that calls tools, and one for which there was no room.
WHY: Final[dict[Operation, tuple[str, str]]] = {
    "chat.completions": ("stop", "tool_calls"),
    "responses": ("completed", "completed"),
    "messages": ("end_turn", "tool_use"),
    "generate_content": ("STOP", "STOP"),
    "completions": ("stop", "stop"),
}


# --- how a provider reads what it was asked ----------------------
class Wire(NamedTuple):
    """`results` (id of the call, text), `schema` of the answer, names of `tools`."""

    results: Callable[[Json], list[tuple[str, str]]]
    schema: Callable[[Json], Json]
    tools: Callable[[Json], list[str]]


def _blocks(body: Json) -> list[Json]:
    contents = [message["content"] for message in body["messages"]]
    return [block for content in contents if isinstance(content, list) for block in content]


WIRES: Final[dict[Operation, Wire]] = {
    "chat.completions": Wire(
        results=lambda body: [
            (one["tool_call_id"], one["content"]) for one in body["messages"] if one["role"] == "tool"
        ],
        schema=lambda body: dict(body["response_format"]["json_schema"]["schema"]),
        tools=lambda body: [one["function"]["name"] for one in body["tools"]],
    ),
    "responses": Wire(
        results=lambda body: [(one["call_id"], one["output"]) for one in body["input"] if "output" in one],
        schema=lambda body: dict(body["text"]["format"]["schema"]),
        tools=lambda body: [one["name"] for one in body["tools"]],
    ),
    "messages": Wire(
        results=lambda body: [
            (one["tool_use_id"], one["content"]) for one in _blocks(body) if one["type"] == "tool_result"
        ],
        schema=lambda body: dict(body["output_config"]["format"]["schema"]),
        tools=lambda body: [one["name"] for one in body["tools"]],
    ),
    "generate_content": Wire(
        results=lambda body: [
            (part["functionResponse"]["id"], part["functionResponse"]["response"]["output"])
            for content in body["contents"]
            for part in content["parts"]
            if "functionResponse" in part
        ],
        schema=lambda body: dict(body["generationConfig"]["responseJsonSchema"]),
        tools=lambda body: [one["name"] for tool in body["tools"] for one in tool["functionDeclarations"]],
    ),
}


# --- how a provider refuses --------------------------------------
class Fault(NamedTuple):
    """What a provider refuses with: its status, and the words for it in each family of dialects; and what a client is
    told then: a status, and a code of ours where there is one."""

    status: int
    openai: tuple[str, str | None]  # type, code
    anthropic: str
    gemini: str
    message: str
    told: int
    code: str | None = None
    headers: str = ""


FAULTS: Final[dict[str, Fault]] = {
    "credential": Fault(
        401,
        ("invalid_request_error", "invalid_api_key"),
        "authentication_error",
        "UNAUTHENTICATED",
        "Incorrect API key.",
        502,
        "upstream_auth_failed",
    ),
    "permission": Fault(
        403,
        ("permission_error", None),
        "permission_error",
        "PERMISSION_DENIED",
        "Not for you.",
        502,
        "upstream_auth_failed",
    ),
    "overloaded": Fault(529, ("server_error", None), "overloaded_error", "UNAVAILABLE", "Overloaded.", 503),
    "unavailable": Fault(503, ("server_error", None), "api_error", "UNAVAILABLE", "Later, please.", 503),
    "too long": Fault(
        400,
        ("invalid_request_error", "context_length_exceeded"),
        "invalid_request_error",
        "INVALID_ARGUMENT",
        "prompt is too long: 9 tokens, the input token count exceeds the maximum context length of 8 tokens",
        400,
        "context_length_exceeded",
    ),
    "filtered": Fault(
        400,
        ("invalid_request_error", "content_filter"),
        "invalid_request_error",
        "INVALID_ARGUMENT",
        "Output blocked by content filtering policy: content_filter",
        400,
        "content_filter",
    ),
    "bad request": Fault(
        400,
        ("invalid_request_error", None),
        "invalid_request_error",
        "INVALID_ARGUMENT",
        "temperature: out of range",
        400,
    ),
    "no model": Fault(
        404,
        ("invalid_request_error", "model_not_found"),
        "not_found_error",
        "NOT_FOUND",
        "The model does not exist.",
        502,
    ),
    "broken": Fault(500, ("server_error", None), "api_error", "INTERNAL", "An internal error.", 502),
}
TOO_MANY: Final = Fault(
    429,
    ("rate_limit_error", "rate_limit_exceeded"),
    "rate_limit_error",
    "RESOURCE_EXHAUSTED",
    "Slow down.",
    429,
    headers="retry-after: 17\r\n",
)


def refusal(wire: Operation, fault: Fault) -> Json:
    """The body of a refusal in the words of a wire."""
    match wire:
        case "messages":
            return {"type": "error", "error": {"type": fault.anthropic, "message": fault.message}}
        case "generate_content":
            return {"error": {"code": fault.status, "message": fault.message, "status": fault.gemini}}
        case _:
            kind, code = fault.openai
            return {"error": {"message": fault.message, "type": kind, "param": None, "code": code}}
