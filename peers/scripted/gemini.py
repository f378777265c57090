"""generateContent."""

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
    state_of,
    text_of,
)

MEMBERS: Final = frozenset(
    "contents systemInstruction tools toolConfig safetySettings generationConfig cachedContent serviceTier store labels"
    " model".split()
)
CONFIG: Final = frozenset(
    "temperature topP topK candidateCount maxOutputTokens stopSequences responseMimeType responseSchema"
    " responseJsonSchema seed presencePenalty frequencyPenalty responseLogprobs logprobs responseModalities"
    " thinkingConfig speechConfig imageConfig mediaResolution".split()
)
_OWN: Final = ("args", "response", "properties", "responseJsonSchema", "parametersJsonSchema", "labels")
# What the API documents for calls that another model made.
FOREIGN: Final = ("context_engineering_is_the_way_to_go", "skip_thought_signature_validator")
_REASONS: Final[dict[Finish, str]] = {"stop": "STOP", "length": "MAX_TOKENS", "calls": "STOP"}


class _Reading:
    """What is gathered from the contents. `open` are the names of the calls before, which must be answered next."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self.results: list[str] = []
        self.pictures: list[Picture] = []
        self.states: list[str] = []
        self.open: list[str] = []
        self.unsigned: list[str] = []

    def content(self, content: dict[str, Any], where: str) -> None:
        known(content, frozenset({"role", "parts"}), where)
        role = content.get("role", "user")
        must(role in ("user", "model"), f"{where}: role {role!r}")
        parts = list_of(content.get("parts"), f"{where}.parts")
        must(parts, f"{where}: no parts")
        calls, self.open = self.open, []
        results: list[str] = []
        texts: list[str] = []
        for number, part in enumerate(parts):
            place = f"{where}.parts[{number}]"
            object_of(part, place)
            self._state(part, place)
            if "functionResponse" in part:
                answer = object_of(part["functionResponse"], place)
                must(role == "user" and answer.get("name") in calls, f"{place}: a response without a call")
                calls.remove(answer["name"])
                results.append(_result(object_of(answer.get("response"), f"{place}.response")))
            elif "functionCall" in part:
                self._call(part, place, first=not self.open)
            else:
                texts += self._part(part, place)
        must(not calls, f"{where}: the number of function responses is not that of the calls; missing {calls}")
        self.turns.append(Turn("user" if role == "user" else "assistant", "\n".join(texts)))
        if role == "user":
            self.results = results
            if texts:
                self.unsigned.clear()  # a turn of its own begins: what was before is not looked at

    def _state(self, part: dict[str, Any], where: str) -> None:
        signature = part.get("thoughtSignature")
        if signature is not None and signature not in FOREIGN:
            self.states.append(mark_of(_standard(signature), f"{where}.thoughtSignature"))

    def _call(self, part: dict[str, Any], where: str, *, first: bool) -> None:
        call = object_of(part["functionCall"], where)
        known(call, frozenset({"id", "name", "args"}), f"{where}.functionCall")
        object_of(call.get("args", {}), f"{where}.args")
        self.open.append(text_of(call.get("name"), f"{where}.name"))
        if first and "thoughtSignature" not in part:
            self.unsigned.append(where)

    def _part(self, part: dict[str, Any], where: str) -> list[str]:
        if "text" in part:
            known(part, frozenset({"text", "thought", "thoughtSignature"}), where)
            return [] if part.get("thought") else [text_of(part["text"], f"{where}.text")]
        if "inlineData" in part:
            blob = object_of(part["inlineData"], where)
            data = base64_of(_standard(blob.get("data")), f"{where}.data")
            self.pictures.append(Picture(text_of(blob.get("mimeType"), f"{where}.mimeType"), data))
            return []
        raise Refused(f"{where}: a part of {sorted(part)}")


def _standard(text: Any) -> Any:
    """Bytes come in either alphabet of base64."""
    return text.replace("-", "+").replace("_", "/") if isinstance(text, str) else text


def _result(response: dict[str, Any]) -> str:
    for name in ("output", "result"):
        if name in response:
            value = response[name]
            return value if isinstance(value, str) else json.dumps(value)
    return json.dumps(response)


def camel(value: Any) -> Any:
    """With the members in one spelling: the API reads `inline_data` and `inlineData` alike. What a user has named stays
    as it is."""
    if isinstance(value, list):
        return [camel(one) for one in value]
    if not isinstance(value, dict):
        return value
    named = {re.sub(r"_([a-z])", lambda found: found[1].upper(), name): one for name, one in value.items()}
    return {name: one if name in _OWN else camel(one) for name, one in named.items()}


def read(body: dict[str, Any], model: str, stream: bool) -> Asked:
    body = camel(body)
    known(body, MEMBERS, "generateContent")
    config = object_of(body.get("generationConfig") or {}, "generationConfig")
    known(config, CONFIG, "generationConfig")
    reading = _Reading()
    system = body.get("systemInstruction")
    if system:
        parts = list_of(object_of(system, "systemInstruction").get("parts"), "systemInstruction.parts")
        reading.turns += [Turn("system", text_of(part.get("text"), "systemInstruction")) for part in parts]
    contents = list_of(body.get("contents"), "contents")
    must(contents, "contents is not specified")
    for number, content in enumerate(contents):
        reading.content(object_of(content, f"contents[{number}]"), f"contents[{number}]")
    must(not reading.open, f"no responses for the calls {reading.open}")
    must(not reading.unsigned, f"a function call is missing a thought_signature: {reading.unsigned}")
    tools = _tools(body)
    json_wanted = config.get("responseMimeType") == "application/json"
    schema = config.get("responseJsonSchema") or config.get("responseSchema")
    must(schema is None or json_wanted, "a schema for an answer that is not to be JSON")
    thinking = config.get("thinkingConfig") or {}
    return Asked(
        wire="generate_content",
        model=model,
        stream=stream,
        turns=reading.turns,
        results=reading.results,
        pictures=reading.pictures,
        states=reading.states,
        tools=tools,
        forced=_forced(body, tools),
        schema=schema,
        shown=bool(thinking.get("includeThoughts")),
    )


def _tools(body: dict[str, Any]) -> dict[str, dict[str, Any]]:
    tools = {}
    for tool in body.get("tools") or ():
        for function in tool.get("functionDeclarations") or ():
            both = "parameters" in function and "parametersJsonSchema" in function
            must(not both, "parameters and parametersJsonSchema of one function")
            schema = function.get("parametersJsonSchema") or function.get("parameters") or {}
            tools[text_of(function.get("name"), "functionDeclarations.name")] = schema
    return tools


def _forced(body: dict[str, Any], tools: dict[str, dict[str, Any]]) -> str | None:
    calling = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
    mode = calling.get("mode", "AUTO")
    must(mode in ("AUTO", "ANY", "NONE", "VALIDATED"), f"functionCallingConfig.mode: {mode!r}")
    allowed = calling.get("allowedFunctionNames") or []
    must(set(allowed) <= set(tools), f"allowedFunctionNames: {allowed}")
    return (allowed[0] if len(allowed) == 1 else "*") if mode == "ANY" else None


def _usage(usage: Usage) -> dict[str, Any]:
    thoughts = {"thoughtsTokenCount": usage.reasoning} if usage.reasoning else {}
    return {
        "promptTokenCount": usage.input,
        "cachedContentTokenCount": usage.cached,
        "candidatesTokenCount": usage.output - usage.reasoning,
        **thoughts,
        "totalTokenCount": usage.input + usage.output,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": usage.input}],
    }


def whole(asked: Asked, reply: Reply) -> dict[str, Any]:
    parts: list[dict[str, Any]] = []
    stream = Stream(asked)
    for said in reply.said:
        for part in stream.parts(said):
            if parts and _joins(parts[-1], part):
                parts[-1] = {**parts[-1], **part, "text": parts[-1]["text"] + part["text"]}
            else:
                parts.append(part)
    return stream.chunk(parts, reply)


def _joins(before: dict[str, Any], part: dict[str, Any]) -> bool:
    both = "text" in before and "text" in part
    return both and before.get("thought") == part.get("thought") and "thoughtSignature" not in part


class Stream:
    """The events of one answer, in order: `begin`, `say` for each step, `end`."""

    kind = "text/event-stream"

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._state: str | None = None
        self._called = False
        self._calls: list[dict[str, Any]] = []

    def begin(self) -> Iterator[bytes]:
        return iter(())

    def say(self, said: Said) -> Iterator[bytes]:
        """Calls are told together, at the end."""
        if isinstance(said, Call):
            self._calls += self.parts(said)
            return
        for part in self.parts(said):
            yield event(self.chunk([part], None))

    def parts(self, said: Said) -> list[dict[str, Any]]:
        """A state goes with the part that follows it; the first call has one in any case."""
        if isinstance(said, State):
            self._state = said.data
            return []
        if isinstance(said, Thought):
            return [{"text": said.text, "thought": True}]
        if isinstance(said, Call) and not self._called:
            self._called = True
            self._state = self._state or state_of(self._asked.cue[1])
        state = {} if self._state is None else {"thoughtSignature": self._state}
        self._state = None
        if isinstance(said, Call):
            return [{"functionCall": {"name": said.name, "args": json.loads(said.arguments)}, **state}]
        return [{"text": said.text, **state}]

    def chunk(self, parts: list[dict[str, Any]], reply: Reply | None) -> dict[str, Any]:
        """`reply` is given with the last."""
        candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
        common = {"modelVersion": self._asked.model, "responseId": self._asked.id}
        if reply is None:
            return {"candidates": [candidate], **common}
        candidate["finishReason"] = _REASONS[reply.finish]
        return {"candidates": [candidate], "usageMetadata": _usage(reply.usage), **common}

    def end(self, reply: Reply) -> Iterator[bytes]:
        yield event(self.chunk(self._calls or [{"text": ""}], reply))

    def fault(self) -> Iterator[bytes]:
        yield event(error(503, "The script wants an error."))


_STATUSES: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}


def error(status: int, message: str, code: str | None = None) -> dict[str, Any]:
    return {"error": {"code": status, "message": message, "status": _STATUSES.get(status, "UNKNOWN"), "details": []}}
