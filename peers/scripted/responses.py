"""The Responses API, without anything that is kept on the server."""

from collections.abc import Iterator
from typing import Any, Final

from peers.scripted.chat import error as error_of
from peers.scripted.model import (
    Asked,
    Call,
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
    "access_programs background context_management conversation image include input instructions max_output_tokens"
    " max_tool_calls metadata model moderation parallel_tool_calls previous_response_id prompt prompt_cache_key"
    " prompt_cache_options prompt_cache_retention reasoning safety_identifier service_tier store stream stream_options"
    " temperature text tool_choice tools top_logprobs top_p truncation user client_metadata".split()
)
_ROLES: Final = {"user": "user", "system": "system", "developer": "system", "assistant": "assistant"}
_TEXTS: Final = ("input_text", "output_text", "text", "refusal")


class _Reading:
    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self.results: list[str] = []
        self.pictures: list[Picture] = []
        self.states: list[str] = []
        self.open: list[str] = []

    def item(self, item: dict[str, Any], where: str) -> None:
        kind = item.get("type", "message")
        if kind == "message":
            role = item.get("role")
            must(role in _ROLES, f"{where}: a role that we do not know: {role!r}")
            self.turns.append(Turn(_ROLES[str(role)], self._content(item.get("content"), where)))
            if role != "assistant":
                must(not self.open, f"{where}: no results for the calls {self.open}")
                self.results.clear()
        elif kind in ("function_call", "custom_tool_call"):
            must(item.get("name"), f"{where}: a call without a name")
            if kind == "function_call":
                parsed(text_of(item.get("arguments"), f"{where}.arguments"), f"{where}.arguments")
            self.open.append(text_of(item.get("call_id"), f"{where}.call_id"))
        elif kind in ("function_call_output", "custom_tool_call_output"):
            must(item.get("call_id") in self.open, f"{where}: a result without a call: {item.get('call_id')!r}")
            self.open.remove(str(item["call_id"]))
            self.results.append(self._content(item.get("output"), where))
        elif kind == "reasoning":
            list_of(item.get("summary"), f"{where}.summary")
            must(item.get("encrypted_content") is not None, f"{where}: nothing is kept here, so give encrypted_content")
            self.states.append(mark_of(item["encrypted_content"], f"{where}.encrypted_content"))
        else:
            raise Refused(f"{where}: an item of the type {kind!r}")

    def _content(self, content: Any, where: str) -> str:
        if isinstance(content, str):
            return content
        texts = []
        for part in list_of(content, f"{where}.content"):
            kind = object_of(part, f"{where}.content").get("type")
            if kind in _TEXTS:
                texts.append(text_of(part.get("text", part.get("refusal")), f"{where}.text"))
            elif kind == "input_image":
                self.pictures.append(data_url(text_of(part.get("image_url"), f"{where}.image_url"), where))
            else:
                raise Refused(f"{where}: a part of the type {kind!r}")
        return "\n".join(texts)


def read(body: dict[str, Any]) -> Asked:
    known(body, MEMBERS, "responses")
    reading = _Reading()
    if body.get("instructions"):
        reading.turns.append(Turn("system", text_of(body["instructions"], "instructions")))
    given = body.get("input")
    items = [{"role": "user", "content": given}] if isinstance(given, str) else list_of(given, "input")
    must(items, "input is empty")
    for number, item in enumerate(items):
        reading.item(object_of(item, f"input[{number}]"), f"input[{number}]")
    must(not reading.open, f"no results for the calls {reading.open}")
    tools = {}
    for tool in body.get("tools") or ():
        must(object_of(tool, "tools").get("type") in ("function", "custom"), f"a tool: {tool}")
        must("function" not in tool, "a tool of chat.completions")
        tools[text_of(tool.get("name"), "tools.name")] = tool.get("parameters") or {}
    form = (body.get("text") or {}).get("format") or {"type": "text"}
    must(form.get("type") in ("text", "json_object", "json_schema"), f"text.format: {form}")
    return Asked(
        wire="responses",
        model=text_of(body.get("model"), "model"),
        stream=bool(body.get("stream")),
        turns=reading.turns,
        results=reading.results,
        pictures=reading.pictures,
        states=reading.states,
        tools=tools,
        forced=_forced(body, tools),
        schema=form.get("schema"),
        shown=bool((body.get("reasoning") or {}).get("summary")),
        stateful="reasoning.encrypted_content" in (body.get("include") or ()),
    )


def _forced(body: dict[str, Any], tools: dict[str, dict[str, Any]]) -> str | None:
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        must(choice.get("name") in tools, f"tool_choice names no tool: {choice}")
        return str(choice["name"])
    must(choice in (None, "auto", "none", "required"), f"tool_choice: {choice!r}")
    return "*" if choice == "required" else None


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input,
        "input_tokens_details": {"cached_tokens": usage.cached},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input + usage.output,
    }


def whole(asked: Asked, reply: Reply) -> dict[str, Any]:
    stream = Stream(asked)
    for said in reply.said:
        list(stream.say(said))
    list(stream.settle())
    return stream.response(reply)


class Stream:
    """The events of one answer, in order: `begin`, `say` for each step, `end`. `_items` grow as they are told, the last
    of them is open where `_open` is true."""

    kind = "text/event-stream"

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._items: list[dict[str, Any]] = []
        self._open = False
        self._number = 0

    def begin(self) -> Iterator[bytes]:
        for name in ("created", "in_progress"):
            yield self._event(f"response.{name}", response=self.response(None))

    def say(self, said: Said) -> Iterator[bytes]:
        if isinstance(said, Text):
            yield from self._text(said)
        elif isinstance(said, Call):
            yield from self._call(said)
        else:
            yield from self._thought(said)

    def settle(self) -> Iterator[bytes]:
        """Closes the item that is open."""
        if not self._open:
            return
        self._open = False
        item, where = self._items[-1], self._where()
        if item["type"] == "message":
            part = item["content"][0]
            yield self._event("response.output_text.done", **where, content_index=0, text=part["text"], logprobs=[])
            yield self._event("response.content_part.done", **where, content_index=0, part=part)
        elif item["type"] == "function_call":
            done = {"name": item["name"], "arguments": item["arguments"]}
            yield self._event("response.function_call_arguments.done", **where, **done)
        for part in item.get("summary", ()):
            yield self._event("response.reasoning_summary_text.done", **where, summary_index=0, text=part["text"])
            yield self._event("response.reasoning_summary_part.done", **where, summary_index=0, part=part)
        if "status" in item:
            item["status"] = "completed"
        yield self._event("response.output_item.done", output_index=where["output_index"], item=item)

    def end(self, reply: Reply) -> Iterator[bytes]:
        yield from self.settle()
        name = "response.incomplete" if reply.finish == "length" else "response.completed"
        yield self._event(name, response=self.response(reply))

    def fault(self) -> Iterator[bytes]:
        yield self._event("error", code="server_error", message="The script wants an error.", param=None)
        response = self.response(None)
        response.update(status="failed", error={"code": "server_error", "message": "The script wants an error."})
        yield self._event("response.failed", response=response)

    def response(self, reply: Reply | None) -> dict[str, Any]:
        """Under way where `reply` is None."""
        short = reply is not None and reply.finish == "length"
        return {
            "id": f"resp_{self._asked.id}",
            "object": "response",
            "created_at": 1_790_000_001,
            "status": "in_progress" if reply is None else "incomplete" if short else "completed",
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if short else None,
            "instructions": None,
            "max_output_tokens": None,
            "metadata": {},
            "model": self._asked.model,
            "output": [] if reply is None else self._items,
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "store": False,
            "temperature": 1.0,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "truncation": "disabled",
            "usage": None if reply is None else _usage(reply.usage),
            "user": None,
        }

    def _is_open(self, kind: str) -> bool:
        return self._open and bool(self._items[-1]["type"] == kind)

    def _begun(self, prefix: str, item: dict[str, Any]) -> Iterator[bytes]:
        yield from self.settle()
        self._items.append({"id": f"{prefix}_{len(self._items)}", **item})
        self._open = True
        yield self._event("response.output_item.added", output_index=len(self._items) - 1, item=self._items[-1])

    def _where(self) -> dict[str, Any]:
        return {"item_id": self._items[-1]["id"], "output_index": len(self._items) - 1}

    def _thought(self, said: Thought | State) -> Iterator[bytes]:
        if not self._is_open("reasoning"):
            state = {"encrypted_content": ""} if self._asked.stateful else {}
            yield from self._begun("rs", {"type": "reasoning", "summary": [], **state})
        item = self._items[-1]
        if isinstance(said, State):
            item["encrypted_content"] = said.data
            return
        where = {**self._where(), "summary_index": 0}
        if not item["summary"]:
            item["summary"].append({"type": "summary_text", "text": ""})
            yield self._event("response.reasoning_summary_part.added", **where, part=item["summary"][0])
        item["summary"][0]["text"] += said.text
        yield self._event("response.reasoning_summary_text.delta", **where, delta=said.text)

    def _text(self, said: Text) -> Iterator[bytes]:
        if not self._is_open("message"):
            part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
            item = {"type": "message", "role": "assistant", "status": "in_progress", "content": []}
            yield from self._begun("msg", item)
            self._items[-1]["content"].append(part)
            yield self._event("response.content_part.added", **self._where(), content_index=0, part=part)
        self._items[-1]["content"][0]["text"] += said.text
        where = {**self._where(), "content_index": 0}
        yield self._event("response.output_text.delta", **where, delta=said.text, logprobs=[])

    def _call(self, said: Call) -> Iterator[bytes]:
        call = {"type": "function_call", "status": "in_progress", "call_id": said.id, "name": said.name}
        yield from self._begun("fc", {**call, "arguments": ""})
        for piece in said.pieces:
            self._items[-1]["arguments"] += piece
            yield self._event("response.function_call_arguments.delta", **self._where(), delta=piece)

    def _event(self, kind: str, /, **members: Any) -> bytes:
        data = {"type": kind, "sequence_number": self._number, **members}
        self._number += 1
        return event(data, kind)


def error(status: int, message: str, code: str | None = None) -> dict[str, Any]:
    return error_of(status, message, code)
