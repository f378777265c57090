"""chat.completions, of a server that thinks aloud: `reasoning_content`, and state in `reasoning_details`."""

import json
from collections.abc import Iterator
from typing import Any, Final

from peers.scripted.model import (
    Asked,
    Call,
    Finish,
    Picture,
    Refused,
    Reply,
    Said,
    State,
    Text,
    Thought,
    Turn,
    Usage,
    data_url,
    event,
    known,
    list_of,
    mark_of,
    must,
    object_of,
    parsed,
    text_of,
)

MEMBERS: Final = frozenset(
    "messages model audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens"
    " max_tokens metadata modalities moderation n parallel_tool_calls prediction presence_penalty prompt_cache_key"
    " prompt_cache_options prompt_cache_retention reasoning_effort response_format safety_identifier seed service_tier"
    " stop store stream stream_options temperature tool_choice tools top_logprobs top_p user verbosity"
    " web_search_options".split()
)
_SYSTEM: Final = ("system", "developer")
_REASONS: Final[dict[Finish, str]] = {"stop": "stop", "length": "length", "calls": "tool_calls"}


class _Reading:
    """What is gathered from the messages, in their order. `open` are the calls that wait for a result."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self.results: list[str] = []
        self.pictures: list[Picture] = []
        self.states: list[str] = []
        self.open: list[str] = []

    def message(self, message: dict[str, Any], where: str) -> None:
        role = message.get("role")
        if role in ("tool", "function"):
            self._result(message, where)
            return
        must(not self.open, f"{where}: no results for the calls {self.open}")
        if role == "assistant":
            self._assistant(message, where)
            return
        must(role == "user" or role in _SYSTEM, f"{where}: a role that we do not know: {role!r}")
        text = self._content(message.get("content"), where, pictures=role == "user")
        self.turns.append(Turn("user" if role == "user" else "system", text))
        self.results.clear()

    def _assistant(self, message: dict[str, Any], where: str) -> None:
        calls = [object_of(call, f"{where}.tool_calls") for call in message.get("tool_calls") or ()]
        legacy = message.get("function_call")
        content = message.get("content")
        must(calls or legacy or content is not None or message.get("refusal"), f"{where}: neither content nor calls")
        text = "" if content is None else self._content(content, where, pictures=False)
        self.turns.append(Turn("assistant", text))
        for call in calls:
            must(call.get("type") == "function", f"{where}: a call of the type {call.get('type')!r}")
            function = object_of(call.get("function"), f"{where}.function")
            must(function.get("name"), f"{where}: a call without a name")
            parsed(text_of(function.get("arguments"), f"{where}.arguments"), f"{where}.arguments")
            self.open.append(text_of(call.get("id"), f"{where}.id"))
        if legacy:
            self.open.append(text_of(legacy.get("name"), f"{where}.name"))
        for detail in message.get("reasoning_details") or ():
            if "data" in detail:
                self.states.append(mark_of(detail["data"], f"{where}.reasoning_details"))

    def _result(self, message: dict[str, Any], where: str) -> None:
        name = message.get("tool_call_id") if message["role"] == "tool" else message.get("name")
        must(name in self.open, f"{where}: a result without a call: {name!r}")
        self.open.remove(str(name))
        self.results.append(self._content(message.get("content"), where, pictures=False))

    def _content(self, content: Any, where: str, *, pictures: bool) -> str:
        if isinstance(content, str):
            return content
        texts = []
        for part in list_of(content, f"{where}.content"):
            kind = object_of(part, f"{where}.content").get("type")
            if kind == "text":
                texts.append(text_of(part.get("text"), f"{where}.text"))
            elif kind == "image_url" and pictures:
                url = object_of(part.get("image_url"), f"{where}.image_url").get("url")
                self.pictures.append(data_url(text_of(url, f"{where}.url"), where))
            else:
                raise Refused(f"{where}: a part of the type {kind!r}")
        must(texts or self.pictures, f"{where}: no parts")
        return "\n".join(texts)


def read(body: dict[str, Any]) -> Asked:
    known(body, MEMBERS, "chat.completions")
    must(body.get("stream_options") is None or body.get("stream"), "stream_options without stream")
    reading = _Reading()
    messages = list_of(body.get("messages"), "messages")
    must(messages, "messages is empty")
    for number, message in enumerate(messages):
        reading.message(object_of(message, f"messages[{number}]"), f"messages[{number}]")
    must(not reading.open, f"no results for the calls {reading.open}")
    tools = _tools(body)
    form = body.get("response_format") or {"type": "text"}
    must(form.get("type") in ("text", "json_object", "json_schema"), f"response_format: {form}")
    return Asked(
        wire="chat.completions",
        model=text_of(body.get("model"), "model"),
        stream=bool(body.get("stream")),
        turns=reading.turns,
        results=reading.results,
        pictures=reading.pictures,
        states=reading.states,
        tools=tools,
        forced=_forced(body, tools),
        schema=form["json_schema"]["schema"] if form["type"] == "json_schema" else None,
        usage=bool((body.get("stream_options") or {}).get("include_usage")),
    )


def _tools(body: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found = {}
    for tool in body.get("tools") or ():
        must(object_of(tool, "tools").get("type") == "function", f"a tool of the type {tool.get('type')!r}")
        function = object_of(tool.get("function"), "tools.function")
        found[text_of(function.get("name"), "tools.function.name")] = function.get("parameters") or {}
    for function in body.get("functions") or ():
        found[text_of(function.get("name"), "functions.name")] = function.get("parameters") or {}
    return found


def _forced(body: dict[str, Any], tools: dict[str, dict[str, Any]]) -> str | None:
    choice = body.get("tool_choice")
    must(choice is None or tools, "tool_choice without tools")
    if isinstance(choice, dict):
        name = choice.get("function", {}).get("name")
        must(name in tools, f"tool_choice names no tool: {choice}")
        return str(name)
    must(choice in (None, "auto", "none", "required"), f"tool_choice: {choice!r}")
    return "*" if choice == "required" else None


def usage_of(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning, "audio_tokens": 0},
    }


def whole(asked: Asked, reply: Reply) -> dict[str, Any]:
    said = reply.said
    text = "".join(one.text for one in said if isinstance(one, Text))
    message: dict[str, Any] = {"role": "assistant", "content": text or None, "refusal": None, "annotations": []}
    thoughts = "".join(one.text for one in said if isinstance(one, Thought))
    if thoughts:
        message["reasoning_content"] = thoughts
    details = [_detail(one) for one in said if isinstance(one, State)]
    if details:
        message["reasoning_details"] = details
    calls = [_call(one, one.arguments) for one in said if isinstance(one, Call)]
    if calls:
        message["tool_calls"] = calls
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _REASONS[reply.finish]}
    return {**_head(asked, "chat.completion"), "choices": [choice], "usage": usage_of(reply.usage)}


def _head(asked: Asked, kind: str) -> dict[str, Any]:
    common = {
        "id": f"chatcmpl-{asked.id}",
        "created": 1_790_000_001,
        "model": asked.model,
        "system_fingerprint": "fp_peer",
    }
    return {**common, "object": kind, "service_tier": "default"}


def _call(call: Call, arguments: str) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _detail(state: State) -> dict[str, Any]:
    return {"type": "reasoning.encrypted", "data": state.data, "format": "peer-v1", "index": 0}


class Stream:
    """The events of one answer, in order: `begin`, `say` for each step, `end`."""

    kind = "text/event-stream"

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._calls = 0

    def begin(self) -> Iterator[bytes]:
        yield self._chunk({"role": "assistant", "content": ""})

    def say(self, said: Said) -> Iterator[bytes]:
        if isinstance(said, Text):
            yield self._chunk({"content": said.text})
        elif isinstance(said, Thought):
            yield self._chunk({"reasoning_content": said.text})
        elif isinstance(said, State):
            yield self._chunk({"reasoning_details": [_detail(said)]})
        else:
            yield self._chunk({"tool_calls": [{"index": self._calls, **_call(said, "")}]})
            for piece in said.pieces:
                call = {"index": self._calls, "function": {"arguments": piece}}
                yield self._chunk({"tool_calls": [call]})
            self._calls += 1

    def end(self, reply: Reply) -> Iterator[bytes]:
        yield self._chunk({}, _REASONS[reply.finish])
        if self._asked.usage:
            yield event({**_head(self._asked, "chat.completion.chunk"), "choices": [], "usage": usage_of(reply.usage)})
        yield b"data: [DONE]\n\n"

    def fault(self) -> Iterator[bytes]:
        yield event(error(500, "The script wants an error.", "server_error"))

    def _chunk(self, delta: dict[str, Any], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        usage = {"usage": None} if self._asked.usage else {}
        return event({**_head(self._asked, "chat.completion.chunk"), "choices": [choice], **usage})


_TYPES: Final = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}


def error(status: int, message: str, code: str | None = None) -> dict[str, Any]:
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def size(body: dict[str, Any]) -> int:
    """Some number of tokens for a request."""
    return len(json.dumps(body)) // 4
