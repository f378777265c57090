"""What an answer says, read from its JSON as a client of each dialect reads it: nothing here knows a codec.

`meant_by` reads whole answers of every dialect, also those that a client has put together of a stream (`natives.kept`);
`recorded` reads what a provider of chat completions or completions was recorded to say, whole or in chunks. `approve`
holds a whole answer against what is published of its dialect.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from openai.types import Completion
from openai.types.chat import ChatCompletion

from posthouse.core.requests import Operation
from posthouse.core.usage import Usage
from posthouse.dialects.anthropic_encoder import DELTAS
from posthouse.dialects.gemini_stream import PARTS
from tests.dialects.published import parse_response

Json = dict[str, Any]


class Tokens(NamedTuple):
    """All input and all output; what of the input came from a cache, and what of the output was thought."""

    read: int = 0
    made: int = 0
    cached: int = 0
    thought: int = 0

    @property
    def usage(self) -> Usage:
        return Usage(
            input=self.read - self.cached,
            cache_read=self.cached,
            output=self.made - self.thought,
            reasoning=self.thought,
        )


class Meaning(NamedTuple):
    """`calls`: id, name, arguments. `finish` by the names of chat completions. `tokens` None: nothing was told."""

    text: str
    thoughts: str
    calls: list[tuple[str, str, Any]]
    finish: str | None
    tokens: Tokens | None

    def in_words_of(self, client: Operation) -> "Meaning":
        """What is left of it for a client of this dialect."""
        if client == "completions":
            return self._replace(thoughts="", calls=[], finish="stop" if self.calls else self.finish)
        if client == "messages" and self.tokens is not None:
            return self._replace(tokens=self.tokens._replace(thought=0))  # it does not tell them apart
        return self


# --- recordings --------------------------------------------------
def recorded(answer: Json | Sequence[Json]) -> Meaning:
    """Of the first choice; there are no others."""
    chunks = [answer] if isinstance(answer, dict) else answer
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    assert {choice["index"] for choice in choices} == {0}
    said: list[Json] = [
        choice.get("message") or choice.get("delta") or {"content": choice["text"]} for choice in choices
    ]
    calls: dict[int, list[str]] = {}
    for number, piece in enumerate(piece for one in said for piece in one.get("tool_calls") or ()):
        call = calls.setdefault(piece["index"] if isinstance(answer, list) else number, ["", "", ""])
        function = piece["function"]
        for place, text in enumerate((piece.get("id"), function.get("name"), function.get("arguments"))):
            call[place] += text or ""
    reasons = [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
    reports = [chunk["usage"] for chunk in chunks if chunk.get("usage")]
    return Meaning(
        "".join([one.get("content") or "" for one in said]),
        "".join([one.get("reasoning") or one.get("reasoning_content") or "" for one in said]),
        [(call_id, name, json.loads(text)) for call_id, name, text in calls.values()],
        reasons[-1] if reasons else None,
        _openai_tokens(reports[-1]) if reports else None,
    )


# --- answers as clients get them ---------------------------------
def meant_by(client: Operation, answer: Json) -> Meaning:
    return _MEANT[client](answer)


def _detail(usage: Json, details: str, name: str) -> int:
    return int((usage.get(details) or {}).get(name) or 0)


def _openai_tokens(usage: Json) -> Tokens:
    return Tokens(
        usage["prompt_tokens"],
        usage.get("completion_tokens") or 0,
        _detail(usage, "prompt_tokens_details", "cached_tokens"),
        _detail(usage, "completion_tokens_details", "reasoning_tokens"),
    )


def _of_chat(answer: Json) -> Meaning:
    (choice,) = answer["choices"]
    message = choice["message"]
    return Meaning(
        message["content"] or "",
        message.get("reasoning_content") or "",
        [
            (call["id"], call["function"]["name"], json.loads(call["function"]["arguments"]))
            for call in message.get("tool_calls") or ()
        ],
        choice["finish_reason"],
        _openai_tokens(answer["usage"]),
    )


def _of_completions(answer: Json) -> Meaning:
    (choice,) = answer["choices"]
    return Meaning(choice["text"], "", [], choice["finish_reason"], _openai_tokens(answer["usage"]))


def _of_responses(answer: Json) -> Meaning:
    items: list[Json] = answer["output"]
    calls = [item for item in items if item["type"] == "function_call"]
    reason = (answer["incomplete_details"] or {}).get("reason")
    assert answer["status"] == ("completed" if reason is None else "incomplete")
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    whole = "tool_calls" if calls else "stop"
    return Meaning(
        "".join([part["text"] for item in items if item["type"] == "message" for part in item["content"]]),
        "".join([part["text"] for item in items if item["type"] == "reasoning" for part in item["summary"]]),
        [(call["call_id"], call["name"], json.loads(call["arguments"])) for call in calls],
        whole if reason is None else {"max_output_tokens": "length"}[reason],
        Tokens(
            usage["input_tokens"],
            usage["output_tokens"],
            _detail(usage, "input_tokens_details", "cached_tokens"),
            _detail(usage, "output_tokens_details", "reasoning_tokens"),
        ),
    )


_STOPS: Final = {"end_turn": "stop", "max_tokens": "length", "tool_use": "tool_calls"}


def _of_messages(answer: Json) -> Meaning:
    blocks: list[Json] = answer["content"]
    usage = answer["usage"]
    cached = usage.get("cache_read_input_tokens") or 0
    return Meaning(
        "".join([block["text"] for block in blocks if block["type"] == "text"]),
        "".join([block["thinking"] for block in blocks if block["type"] == "thinking"]),
        [(block["id"], block["name"], block["input"]) for block in blocks if block["type"] == "tool_use"],
        _STOPS[answer["stop_reason"]],
        Tokens(usage["input_tokens"] + cached, usage["output_tokens"], cached),
    )


def _of_gemini(answer: Json) -> Meaning:
    (candidate,) = answer["candidates"]
    parts: list[Json] = candidate["content"]["parts"]
    calls = [part["functionCall"] for part in parts if "functionCall" in part]
    usage = answer["usageMetadata"]
    thought = usage.get("thoughtsTokenCount") or 0
    made = (usage.get("candidatesTokenCount") or 0) + thought
    assert usage["totalTokenCount"] == usage["promptTokenCount"] + made
    whole = "tool_calls" if calls else "stop"
    return Meaning(
        "".join([part["text"] for part in parts if "text" in part and not part.get("thought")]),
        "".join([part["text"] for part in parts if part.get("thought")]),
        [(call["id"], call["name"], call["args"]) for call in calls],
        {"STOP": whole, "MAX_TOKENS": "length"}[candidate["finishReason"]],
        Tokens(usage["promptTokenCount"], made, usage.get("cachedContentTokenCount") or 0, thought),
    )


_MEANT: Final[dict[Operation, Callable[[Json], Meaning]]] = {
    "chat.completions": _of_chat,
    "responses": _of_responses,
    "messages": _of_messages,
    "generate_content": _of_gemini,
    "completions": _of_completions,
}


# --- whole answers by the book -----------------------------------
def approve(client: Operation, body: bytes) -> None:
    """By the SDK's types, strictly, where there are some here; else by the tables of the stream, whose blocks and parts
    are those of a whole answer."""
    _APPROVE[client](body)


_BLOCK: Final = {"tool_use": {"type", "id", "name", "input"}, "redacted_thinking": {"type", "data"}}


def _approve_messages(body: bytes) -> None:
    answer = json.loads(body)
    assert answer.keys() >= {"id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage"}
    assert (answer["type"], answer["role"]) == ("message", "assistant")
    for block in answer["content"]:
        assert block.keys() == _BLOCK.get(block["type"], {"type", *DELTAS[block["type"]].values()})
    assert {"input_tokens", "output_tokens"} <= answer["usage"].keys()


def _approve_gemini(body: bytes) -> None:
    for candidate in json.loads(body)["candidates"]:
        assert candidate["content"]["role"] == "model" and candidate["content"]["parts"]
        assert all(frozenset(part) - {"thoughtSignature"} in PARTS for part in candidate["content"]["parts"])


_APPROVE: Final[dict[Operation, Callable[[bytes], object]]] = {
    "chat.completions": lambda body: ChatCompletion.model_validate_json(body, strict=True),
    "responses": parse_response,
    "messages": _approve_messages,
    "generate_content": _approve_gemini,
    "completions": lambda body: Completion.model_validate_json(body, strict=True),
}
