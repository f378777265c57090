"""What every dialect can say, as data, and forms in which what two dialects say can be compared.

`KEPT` is the table: by dialect, which parts of a request survive the way through it, always or with some values only.
All others are lost, and told to be.
"""

import json
import os
from collections.abc import Iterable
from typing import Any, Final

from hypothesis import reject
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import replace

from posthouse.core.errors import InvalidRequest
from posthouse.core.items import (
    InnerRequest,
    Item,
    Items,
    MessageItem,
    OpaqueTool,
    ReasoningItem,
    Tool,
    ToolCallItem,
    ToolResultItem,
)
from posthouse.core.parts import AudioPart, FilePart, ImagePart, OpaquePart, Part, RefusalPart, TextPart
from posthouse.core.requests import TEXTS, Operation
from posthouse.dialects.codec import Addressed
from posthouse.dialects.codecs import codec_of
from posthouse.dialects.openai_chat_items import ELSEWHERE
from posthouse.dialects.openai_chat_parts import FAILED
from posthouse.dialects.openai_completions_prompt import STOP
from tests.dialects.inner import MAKER, WORDS, requests

PAIRS: Final = [(client, provider) for client in TEXTS for provider in TEXTS]
# In an ordinary run, for each pair; a large number digs deeper.
EXAMPLES: Final = int(os.environ.get("POSTHOUSE_TEST_EXAMPLES", "15"))
ADDRESSED: Final = Addressed("m")

# --- the table ---------------------------------------------------
ALWAYS: Final = "always"
SOMETIMES: Final = "sometimes"  # it depends on the value, or on what stands beside it
_SAMPLING: Final = ("temperature", "top_p", "stop", "choices", "seed", "presence_penalty", "frequency_penalty", "user")
_EVERYWHERE: Final = dict.fromkeys(("max_output", "stream"), ALWAYS)
KEPT: Final[dict[Operation, dict[str, str]]] = {
    "chat.completions": {
        **_EVERYWHERE,
        **dict.fromkeys((*_SAMPLING, "effort", "verbosity", "output_format", "parallel_tools", "name"), ALWAYS),
        **dict.fromkeys(("tools", "tool.custom", "tool.strict", "tool_choice", "part.image", "part.detail"), ALWAYS),
        **dict.fromkeys(("part.file", "part.filename"), ALWAYS),
        "part.audio": SOMETIMES,  # not in the assistant's own words
        "stop": SOMETIMES,  # four of them
    },
    "responses": {
        **_EVERYWHERE,
        **dict.fromkeys(("temperature", "top_p", "user", "effort", "verbosity", "output_format"), ALWAYS),
        **dict.fromkeys(("tools", "tool.custom", "tool.strict", "tool_choice", "parallel_tools"), ALWAYS),
        **dict.fromkeys(("part.image", "part.detail", "part.file", "part.filename"), ALWAYS),
        "part.audio": SOMETIMES,
        "max_output": SOMETIMES,  # 16 at least
    },
    "messages": {
        **_EVERYWHERE,
        **dict.fromkeys(("tools", "tool_choice", "parallel_tools", "part.image", "part.file", "part.filename"), ALWAYS),
        **dict.fromkeys(("temperature", "top_p", "top_k", "stop", "user", "effort", "thinking_budget"), SOMETIMES),
        **dict.fromkeys(("output_format", "tool.strict"), SOMETIMES),
    },
    "generate_content": {
        **_EVERYWHERE,
        **dict.fromkeys(
            ("tools", "tool_choice", "output_format", "part.image", "part.file", "thinking_budget"), ALWAYS
        ),
        **dict.fromkeys(("temperature", "top_p", "top_k", "choices"), ALWAYS),
        **dict.fromkeys(("presence_penalty", "frequency_penalty"), ALWAYS),
        **dict.fromkeys(("stop", "seed", "effort"), SOMETIMES),
        "part.audio": SOMETIMES,
    },
    "completions": {
        **_EVERYWHERE,
        **dict.fromkeys(_SAMPLING, ALWAYS),
        "stop": SOMETIMES,
    },
}
# Parts of something: where that is lost, this is not told beside it.
WHOLE: Final = {
    **dict.fromkeys(("tool.strict", "tool.custom", "tool.opaque", "parallel_tools"), "tools"),
    "part.detail": "part.image",
    "part.filename": "part.file",
}
# What survives in a form of its own, which means the same: efforts that have another name.
SAME_EFFORT: Final[dict[Operation, dict[str, str]]] = {
    "messages": {"minimal": "low"},
}
# Thoughts are lost without a word, but for where there is a place for them that anybody may fill.
TELLS_THOUGHTS: Final[frozenset[Operation]] = frozenset({"chat.completions"})
_PART: Final[dict[str, bytes]] = {
    "openai_chat": b'{"type":"future_part","x":1}',
    "openai_responses": b'{"type":"input_future","x":1}',
    "anthropic_messages": b'{"type":"future_block","x":1}',
    "gemini": b'{"executableCode":{"language":"PYTHON","code":"1"}}',
}
_TOOL: Final[dict[str, bytes]] = {
    "openai_chat": b'{"type":"future_tool","x":1}',
    "openai_responses": b'{"type":"web_search"}',
    "anthropic_messages": b'{"type":"web_search_20260318","name":"web_search"}',
    "gemini": b'{"googleSearch":{}}',
}


# --- requests ----------------------------------------------------
@st.composite
def asked(draw: st.DrawFn, client: Operation) -> InnerRequest:
    """What a client of this dialect can mean: read from a body of its own."""
    codec = codec_of(client)
    request = draw(_rich(codec.name))
    if client == "completions":  # a prompt says something
        request = replace(request, items=(MessageItem("user", (TextPart(draw(WORDS)),)), *request.items))
    try:
        return codec.decode_request(codec.encode_request(request, MAKER).body, ADDRESSED)
    except InvalidRequest:
        reject()  # what a client would not send, such as blanks alone


@st.composite
def _rich(draw: st.DrawFn, dialect: str) -> InnerRequest:
    """A request with what only this dialect knows, too."""
    request = draw(requests(dialect=dialect))
    sampling = replace(request.sampling, top_k=draw(st.none() | st.integers(1, 100)))
    thinking = request.thinking
    if draw(st.booleans()):
        thinking = replace(thinking, effort=None, budget=draw(st.sampled_from([0, 1024, 5000])))
    extra = {"future_member": Raw(b'{"a":1}')} if draw(st.booleans()) else {}
    request = replace(request, sampling=sampling, thinking=thinking, extra=extra)
    if dialect in _PART and draw(st.booleans()):
        request = replace(request, tools=(*request.tools, OpaqueTool(dialect, _TOOL[dialect])))
    if draw(st.booleans()):
        request = replace(request, items=tuple(_closer(item, dialect) for item in request.items))
    return request


def _closer(item: Item, dialect: str) -> Item:
    """Pictures to be looked at closely, and a part that only one dialect knows."""
    if not isinstance(item, MessageItem) or item.role != "user":
        return item
    parts = tuple(replace(part, detail="high") if isinstance(part, ImagePart) else part for part in item.parts)
    return replace(item, parts=(*parts, OpaquePart(dialect, _PART[dialect])) if dialect in _PART else parts)


def parts_of(items: Items) -> list[Part]:
    return [part for item in items if isinstance(item, MessageItem | ToolResultItem) for part in item.parts]


def wishes(request: InnerRequest, customs: Iterable[str] = ()) -> dict[str, Any]:
    """What a request asks for, by its inner names; what is anyone's default is not asked for. `customs`: functions that
    stand for custom tools."""
    sampling, tools = request.sampling, [tool for tool in request.tools if isinstance(tool, Tool)]
    functions = [tool for tool in tools if tool.kind == "function" and tool.name not in customs]
    choice, thinking = request.tool_choice, request.thinking
    found: dict[str, Any] = {
        "max_output": sampling.max_output,
        "stream": request.stream or None,
        "temperature": sampling.temperature,
        "top_p": None if sampling.top_p == 1 else sampling.top_p,
        "top_k": sampling.top_k,
        "stop": tuple(text for text in sampling.stop if text != STOP) or None,
        "choices": None if sampling.choices == 1 else sampling.choices,
        "seed": sampling.seed,
        "presence_penalty": sampling.presence_penalty or None,
        "frequency_penalty": sampling.frequency_penalty or None,
        "user": request.user,
        "verbosity": request.verbosity,
        "effort": None if thinking.effort == "none" else thinking.effort,
        "thinking_budget": thinking.budget or None,
        "output_format": _format_of(request),
        "tools": [(tool.name, tool.description, _json(tool.schema)) for tool in functions] or None,
        "tool.custom": [tool.name for tool in tools if tool.kind == "custom"] or None,
        "tool.strict": [tool.name for tool in functions if tool.strict] or None,
        "tool.opaque": [tool.payload for tool in request.tools if isinstance(tool, OpaqueTool)] or None,
        "tool_choice": None if choice is None or choice.mode == "auto" else (choice.mode, choice.name),
    }
    if request.parallel_tools is False and tools and (choice is None or choice.mode != "none"):
        found["parallel_tools"] = False
    found.update(_wishes_in(request.items))
    return {name: value for name, value in found.items() if value is not None}


def _format_of(request: InnerRequest) -> Any:
    output = request.output_format
    if output is None or output.kind == "text":
        return None
    return (output.kind, _json(output.schema))


def _json(payload: bytes | None) -> Any:
    """A schema without what closes it, which some APIs ask for. Any object is what none means."""
    value = json.loads(payload or b"{}")
    value.pop("additionalProperties", None)
    return {} if value == {"type": "object"} else value


def _wishes_in(items: Items) -> dict[str, Any]:
    parts = parts_of(items)
    images = [part for part in parts if isinstance(part, ImagePart)]
    files = [part for part in parts if isinstance(part, FilePart)]
    found: dict[str, list[Any]] = {
        "name": [item.name for item in items if isinstance(item, MessageItem) and item.name],
        "part.image": [part.url for part in images],
        "part.detail": [part.detail for part in images if part.detail not in (None, "auto")],
        "part.file": [part.data for part in files],
        "part.filename": [part.filename for part in files if part.filename],
        "part.audio": [part.data for part in parts if isinstance(part, AudioPart)],
        "part.opaque": [part.payload for part in parts if isinstance(part, OpaquePart)],
    }
    return {name: sorted(value) for name, value in found.items() if value}


# --- conversations -----------------------------------------------
_REMINDER: Final = ("<system-reminder>\n", "\n</system-reminder>")
_ROLES: Final = {"developer": "system"}
# What we say ourselves in place of a result; and before pictures of one, where the other side wants the user to begin,
# and where it has no word for any JSON object.
_UNSAID: Final = (ELSEWHERE, "The tool failed and said nothing of why.")
_OURS: Final = ("Belongs to the result of ", "(The conversation begins.)", "Answer with one valid JSON object")


def conversation(items: Items, *, exact: bool = False) -> list[list[Any]]:
    """What is said, by whom, in order: texts of one speaker joined, without blanks, calls and results. Instructions are
    one speaker, wherever they stand and whoever repeats them; but not where it shall be `exact`."""
    told: list[list[Any]] = []
    for item in items:
        match item:
            case MessageItem():
                for part in item.parts:
                    if isinstance(part, TextPart | RefusalPart):
                        _tell(told, _ROLES.get(item.role, item.role), part.text, exact)
            case ToolCallItem():
                told.append(["call", item.call_id, item.name, arguments_of(item.kind, item.arguments)])
            case ToolResultItem():
                told.append(["result", item.call_id, *_result(item)])
            case _:
                pass
    if not exact and all(speaker == "system" for speaker, *_ in told):
        return [["user", *said] for _, *said in told]  # who gives nothing but instructions says them as the user
    return told


def _tell(told: list[list[Any]], speaker: str, text: str, exact: bool) -> None:
    before, behind = _REMINDER
    if not exact and text.startswith(before) and text.endswith(behind):
        speaker, text = "system", text[len(before) : -len(behind)]
    if text.startswith(_OURS):
        return
    text = bare(text)
    if text and told and told[-1][0] == speaker:
        told[-1][1] += text
    elif text:
        told.append([speaker, text])


def is_blank_instruction(item: Item) -> bool:
    """Whether it says nothing, so that nobody sees where it stands."""
    if not isinstance(item, MessageItem) or item.role not in ("system", "developer"):
        return False
    return not any(isinstance(part, TextPart) and part.text.strip() for part in item.parts)


def bare(text: str) -> str:
    return "".join(text.split())


def _result(item: ToolResultItem) -> tuple[str, bool]:
    texts = [part.text for part in item.parts if isinstance(part, TextPart) and part.text not in _UNSAID]
    said, failed = "\n".join(texts), item.failed
    if said.startswith(FAILED):
        said, failed = said.removeprefix(FAILED), True
    return bare(said), failed


def arguments_of(kind: str, text: str) -> Any:
    """Free text is one member of an object where there are only functions."""
    return {"input": text} if kind == "custom" else json.loads(text or "{}")


def thoughts(items: Items) -> str:
    return "".join([item.text for item in items if isinstance(item, ReasoningItem)])


def carried(request: InnerRequest, other: InnerRequest) -> frozenset[str]:
    """Members that only some dialects know, and that `other` has too."""
    return frozenset(name for name, raw in request.extra.items() if other.extra.get(name) == raw)
