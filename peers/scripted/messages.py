"""The Messages API."""

import json
import re
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
    base64_of,
    event,
    known,
    list_of,
    mark_of,
    must,
    object_of,
    text_of,
)

MEMBERS: Final = frozenset(
    "model max_tokens messages system cache_control thinking output_config tools tool_choice stop_sequences metadata"
    " service_tier speed inference_geo container diagnostics stream temperature top_p top_k context_management"
    " mcp_servers fallbacks fallback_credit_token billing_policy compaction".split()
)
COUNTED: Final = MEMBERS - {"max_tokens", "stream", "metadata", "service_tier", "stop_sequences", "temperature"}
BETA: Final = "message-threads-2026-08-12"
_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_ID: Final = re.compile(r"[a-zA-Z0-9_-]+")
_REASONS: Final[dict[Finish, str]] = {"stop": "end_turn", "length": "max_tokens", "calls": "tool_use"}
_MOST_MARKS: Final = 4


class _Reading:
    """What is gathered from the messages. `open` are the calls of the message before, which must be answered next."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self.results: list[str] = []
        self.pictures: list[Picture] = []
        self.states: list[str] = []
        self.open: list[str] = []
        self.marks = 0

    def message(self, message: dict[str, Any], where: str) -> None:
        known(message, frozenset({"role", "content"}), where)
        role = text_of(message.get("role"), f"{where}.role")
        must(role in ("user", "assistant", "system"), f"{where}: role {role!r}")
        must(self.turns or role == "user", f"{where}: the first message must be a user's")
        content = message.get("content")
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else list_of(content, where)
        must(blocks, f"{where}: no content")
        calls, self.open = self.open, []
        texts: list[str] = []
        results: list[str] = []
        for number, block in enumerate(blocks):
            place = f"{where}.content[{number}]"
            kind = object_of(block, place).get("type")
            self._mark(block)
            if kind == "tool_result":
                must(role == "user" and not texts, f"{place}: results come first, in a user's message")
                must(block.get("tool_use_id") in calls, f"{place}: a result without a call in the message before")
                calls.remove(block["tool_use_id"])
                results.append(self._result(block, place))
            elif role == "assistant":
                texts += self._spoken(block, place)
            else:
                texts += self._block(block, place)
        must(not calls, f"{where}: no results for the calls {calls}")
        self.turns.append(Turn(role, "\n".join(texts)))
        self.results = results if results and role == "user" else [] if role == "user" else self.results

    def _mark(self, block: dict[str, Any]) -> None:
        if block.get("cache_control") is not None:
            self.marks += 1
            must(self.marks <= _MOST_MARKS, "more than four blocks with cache_control")

    def _spoken(self, block: dict[str, Any], where: str) -> list[str]:
        kind = block["type"]
        if kind == "thinking":
            text_of(block.get("thinking"), f"{where}.thinking")
            self.states.append(mark_of(block.get("signature"), f"{where}.signature"))
        elif kind == "redacted_thinking":
            self.states.append(mark_of(block.get("data"), f"{where}.data"))
        elif kind == "tool_use":
            known(block, frozenset({"type", "id", "name", "input", "cache_control", "caller"}), where)
            must(_ID.fullmatch(text_of(block.get("id"), f"{where}.id")), f"{where}: id {block['id']!r}")
            must(_NAME.fullmatch(text_of(block.get("name"), f"{where}.name")), f"{where}: name {block['name']!r}")
            object_of(block.get("input"), f"{where}.input")
            must(block["id"] not in self.open, f"{where}: the id {block['id']!r} twice")
            self.open.append(block["id"])
        else:
            return self._block(block, where)
        return []

    def _block(self, block: dict[str, Any], where: str) -> list[str]:
        kind = block["type"]
        if kind == "text":
            known(block, frozenset({"type", "text", "cache_control", "citations"}), where)
            must(text_of(block.get("text"), f"{where}.text").strip(), f"{where}: text that is empty")
            return [block["text"]]
        if kind == "image":
            source = object_of(block.get("source"), f"{where}.source")
            must(source.get("type") == "base64", f"{where}: a source of the type {source.get('type')!r}")
            data = base64_of(source.get("data"), f"{where}.data")
            self.pictures.append(Picture(text_of(source.get("media_type"), f"{where}.media_type"), data))
            return []
        raise Refused(f"{where}: a block of the type {kind!r}")

    def _result(self, block: dict[str, Any], where: str) -> str:
        known(block, frozenset({"type", "tool_use_id", "content", "is_error", "cache_control"}), where)
        content = block.get("content", "")
        if isinstance(content, str):
            return content
        return "\n".join(text for part in list_of(content, where) for text in self._block(part, where))


def read(body: dict[str, Any], version: str | None) -> Asked:
    known(body, MEMBERS, "messages")
    must(version is not None, "anthropic-version: header is required")
    most = body.get("max_tokens")
    must(isinstance(most, int) and not isinstance(most, bool), "max_tokens: field required")
    thinking = object_of(body.get("thinking") or {"type": "disabled"}, "thinking")
    if thinking.get("type") == "enabled":
        budget = thinking.get("budget_tokens")
        must(isinstance(budget, int) and 1024 <= budget < int(most or 0), f"thinking.budget_tokens: {budget!r}")
    if version == "2026-10-21":
        strange = sorted({"temperature", "top_p", "top_k"} & set(body))
        must(not strange, f"{strange} are no more in this version")
    reading = _reading(body)
    tools = tools_of(body)
    form = (body.get("output_config") or {}).get("format")
    return Asked(
        wire="messages",
        model=text_of(body.get("model"), "model"),
        stream=bool(body.get("stream")),
        turns=reading.turns,
        results=reading.results,
        pictures=reading.pictures,
        states=reading.states,
        tools=tools,
        forced=_forced(body, tools),
        schema=form["schema"] if form else None,
        shown=thinking.get("type") != "disabled" and thinking.get("display") != "omitted",
        stateful=thinking.get("type") != "disabled",
    )


def _reading(body: dict[str, Any]) -> _Reading:
    reading = _Reading()
    system = body.get("system")
    blocks = [{"type": "text", "text": system}] if isinstance(system, str) else system or []
    spoken = []
    for number, block in enumerate(blocks):
        must(object_of(block, "system").get("type") == "text", f"system[{number}] is no text")
        must(text_of(block.get("text"), "system").strip(), f"system[{number}] is empty")
        reading._mark(block)
        spoken.append(Turn("system", block["text"]))
    for tool in body.get("tools") or ():
        reading._mark(object_of(tool, "tools"))
    messages = list_of(body.get("messages"), "messages")
    must(messages, "messages: at least one message is required")
    for number, message in enumerate(messages):
        reading.message(object_of(message, f"messages[{number}]"), f"messages[{number}]")
    must(not reading.open, f"no results for the calls {reading.open}")
    reading.turns[:0] = spoken
    return reading


class Threads:
    """Conversations that are kept here: a request that continues one sends only what is new."""

    def __init__(self) -> None:
        self._kept: dict[str, dict[str, Any]] = {}

    def unfolded(self, body: dict[str, Any], betas: str) -> dict[str, Any]:
        """The same request without a thread."""
        thread = body.get("thread")
        if thread is None:
            return body
        must(BETA in betas or thread.get("type") == "create", f"thread wants the beta {BETA}")
        rest = {name: value for name, value in body.items() if name != "thread"}
        if thread.get("type") == "create":
            return rest
        must(not {"system", "tools"} & set(body), "system and tools are the thread's")
        kept = self._kept.get(str(thread.get("previous_message_id")))
        if kept is None:
            raise Refused("there is no such thread", 404, "thread_not_found")
        return {**kept, **rest, "messages": [*kept["messages"], *rest["messages"]]}

    def keep(self, body: dict[str, Any], message: dict[str, Any]) -> None:
        said = {"role": "assistant", "content": message["content"]}
        common: dict[str, Any] = {name: body[name] for name in ("system", "tools") if name in body}
        self._kept[message["id"]] = {**common, "messages": [*body["messages"], said]}


def tools_of(body: dict[str, Any]) -> dict[str, dict[str, Any]]:
    tools = {}
    for tool in body.get("tools") or ():
        must("function" not in tool and "parameters" not in tool, "a tool of another dialect")
        name = text_of(tool.get("name"), "tools.name")
        must(_NAME.fullmatch(name), f"tools: name {name!r}")
        schema = tool.get("input_schema")
        if tool.get("type") in (None, "custom"):
            must(object_of(schema, "tools.input_schema").get("type") == "object", f"tools: schema {schema}")
        tools[name] = schema or {}
    return tools


def _forced(body: dict[str, Any], tools: dict[str, dict[str, Any]]) -> str | None:
    choice = body.get("tool_choice") or {"type": "auto"}
    must(choice.get("type") in ("auto", "any", "tool", "none"), f"tool_choice: {choice}")
    if choice["type"] == "tool":
        must(choice.get("name") in tools, f"tool_choice names no tool: {choice}")
        return str(choice["name"])
    return "*" if choice["type"] == "any" else None


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input - usage.cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached,
        "output_tokens": usage.output,
        "output_tokens_details": {"thinking_tokens": usage.reasoning},
        "service_tier": "standard",
    }


def _message(asked: Asked) -> dict[str, Any]:
    common = {"id": f"msg_{asked.id}", "type": "message", "role": "assistant", "model": asked.model}
    return {**common, "content": [], "stop_reason": None, "stop_sequence": None}


def _blocks(reply: Reply) -> list[list[Said]]:
    """What is said, parted into blocks: thoughts with their state, a run of text, each call."""
    blocks: list[list[Said]] = []
    for said in reply.said:
        if blocks and _goes_on(blocks[-1][-1], said):
            blocks[-1].append(said)
        else:
            blocks.append([said])
    return blocks


def _goes_on(before: Said, said: Said) -> bool:
    if isinstance(said, Thought | State):
        return isinstance(before, Thought)
    return isinstance(said, Text) and isinstance(before, Text)


def _open(first: Said) -> dict[str, Any]:
    if isinstance(first, Call):
        return {"type": "tool_use", "id": first.id, "name": first.name, "input": {}}
    if isinstance(first, Text):
        return {"type": "text", "text": ""}
    return {"type": "thinking", "thinking": "", "signature": ""}


def whole(asked: Asked, reply: Reply) -> dict[str, Any]:
    content = []
    for said in _blocks(reply):
        block = _open(said[0])
        for one in said:
            if isinstance(one, Call):
                block["input"] = json.loads(one.arguments)
            elif isinstance(one, State):
                block["signature"] = one.data
            else:
                block["text" if isinstance(one, Text) else "thinking"] += one.text
        content.append(block)
    end = {"stop_reason": _REASONS[reply.finish], "usage": _usage(reply.usage)}
    return {**_message(asked), "content": content, **end}


class Stream:
    """The events of one answer, in order: `begin`, `say` for each step, `end`."""

    kind = "text/event-stream; charset=utf-8"

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._index = -1
        self._before: Said | None = None

    def begin(self) -> Iterator[bytes]:
        usage = {**_usage(Usage()), "output_tokens": 1}
        yield self._event("message_start", message={**_message(self._asked), "usage": usage})
        yield self._event("ping")

    def say(self, said: Said) -> Iterator[bytes]:
        if self._before is None or not _goes_on(self._before, said):
            yield from self._settle()
            self._index += 1
            yield self._event("content_block_start", index=self._index, content_block=_open(said))
        self._before = said
        if isinstance(said, Text):
            yield self._delta(type="text_delta", text=said.text)
        elif isinstance(said, Thought):
            yield self._delta(type="thinking_delta", thinking=said.text)
        elif isinstance(said, State):
            yield self._delta(type="signature_delta", signature=said.data)
        else:
            for piece in ("", *said.pieces):
                yield self._delta(type="input_json_delta", partial_json=piece)

    def end(self, reply: Reply) -> Iterator[bytes]:
        yield from self._settle()
        delta = {"stop_reason": _REASONS[reply.finish], "stop_sequence": None}
        yield self._event("message_delta", delta=delta, usage=_usage(reply.usage))
        yield self._event("message_stop")

    def fault(self) -> Iterator[bytes]:
        yield self._event("error", error={"type": "overloaded_error", "message": "The script wants an error."})

    def _settle(self) -> Iterator[bytes]:
        if self._before is not None:
            yield self._event("content_block_stop", index=self._index)
            self._before = None

    def _delta(self, **delta: Any) -> bytes:
        return self._event("content_block_delta", index=self._index, delta=delta)

    def _event(self, name: str, **members: Any) -> bytes:
        return event({"type": name, **members}, name)


_TYPES: Final = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error", 529: "overloaded_error"}


def error(status: int, message: str, code: str | None = None) -> dict[str, Any]:
    kind = _TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
    details = {"details": {"error_code": code}} if code else {}
    return {"type": "error", "error": {"type": kind, "message": message, **details}, "request_id": "req_peer"}


def card(model: str) -> dict[str, Any]:
    """One model of the list."""
    none = dict.fromkeys(("capabilities", "deprecated_at", "line", "max_input_tokens", "max_tokens", "retires_at"))
    common = {"type": "model", "id": model, "display_name": model, "created_at": "2026-01-01T00:00:00Z"}
    return {**none, **common, "lifecycle": "active"}
