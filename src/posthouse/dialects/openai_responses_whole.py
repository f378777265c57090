"""Whole answers of the Responses API to and from the inner form, and what the spine reads of one.

An answer of this dialect has one choice. It is complete as the API gives it: what it repeats of the request stands
there, or what the API would take where nothing was asked.
"""

from typing import Any, Final

import msgspec
from msgspec import Raw, Struct
from msgspec.json import Decoder
from msgspec.structs import replace

from posthouse.core.errors import InvalidRequest
from posthouse.core.items import (
    Choice,
    CompactionItem,
    InnerResponse,
    Item,
    Items,
    MessageItem,
    OpaqueState,
    ReasoningItem,
    ToolCallItem,
)
from posthouse.core.parts import AudioPart, OpaquePart, Part, RefusalPart, TextPart
from posthouse.core.usage import Usage
from posthouse.dialects.codec import Maker, ReplyHead, Whole
from posthouse.dialects.errors import DialectError
from posthouse.dialects.opaque import seal
from posthouse.dialects.openai_errors import decode_error
from posthouse.dialects.openai_responses_items import DIALECT, UNKNOWN, Json, decode_items, encode_call
from posthouse.dialects.openai_responses_request import echo_of
from posthouse.dialects.openai_usage import at_tier, kept_details, usage_of

_REASON_OF: Final = {"max_output_tokens": "length"}
# Reasons that make an answer incomplete, by their inner name; the last two are only ever this dialect's own.
_CUT: Final = {
    "length": "max_output_tokens",
    "content_filter": "content_filter",
    "max_messages": "max_messages",
    "steered": "steered",
}
# Thoughts without state: marked as ours, so that whoever is sent them next knows that their id is made up.
NO_STATE: Final = OpaqueState("", "", "", b"")
_DEFAULTS: Final[Json] = {
    "background": False,
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "store": False,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "truncation": "disabled",
}
_NULL: Final = Raw(b"null")
_TOOLS: Final = (b"web_search_call", b"file_search_call", b"code_interpreter_call")
_encode = msgspec.json.Encoder().encode


class Details(Struct, gc=False):
    reason: Any = None


class Reply(Struct, gc=False):
    """What is read of a Response, whole or at the end of a stream."""

    id: Any = None
    status: Any = None
    model: Any = None
    created_at: Any = None
    error: Any = None
    incomplete_details: Details | None = None
    usage: Any = None
    output: Raw = _NULL
    service_tier: Any = None


class _Kind(Struct, gc=False):
    type: Any = None
    action: Any = None
    container_id: Any = None


_decode_reply = Decoder(Reply).decode
_decode_kinds = Decoder(list[_Kind]).decode
_decode_list = Decoder(list[Raw] | None).decode


def decode_response(body: bytes, maker: Maker) -> InnerResponse:
    """DialectError where the body is no answer of this dialect."""
    reply, items = _read(body, maker)
    calls = any(isinstance(item, ToolCallItem) for item in items)
    created = reply.created_at
    return InnerResponse(
        id=reply.id if isinstance(reply.id, str) else "",
        model=reply.model if isinstance(reply.model, str) else "",
        created=int(created) if isinstance(created, int | float) and abs(created) < 2**53 else 0,
        choices=(Choice(items, finish_of(reply, calls)),),
        usage=usage_of_reply(reply),
    )


def _read(body: bytes, maker: Maker) -> tuple[Reply, Items]:
    try:
        reply = _decode_reply(body)
        if reply.output is not _NULL:
            return reply, output_of(reply, maker)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        pass
    raise DialectError("the answer is not a response")


def output_of(reply: Reply, maker: Maker) -> Items:
    """The items of an answer. DialectError where one is none."""
    try:
        return decode_items(_decode_list(reply.output) or [], "output", maker)
    except (msgspec.DecodeError, UnicodeError, RecursionError, InvalidRequest):
        raise DialectError("the output of the answer is not a list of items") from None


def finish_of(reply: Reply, calls: bool) -> str | None:
    """Why the answer ended, None where it did not; `calls`: it calls tools."""
    if reply.status == "incomplete":
        reason = reply.incomplete_details.reason if reply.incomplete_details is not None else None
        return _REASON_OF.get(reason, reason) if isinstance(reason, str) and reason else None
    if reply.status in (None, "completed"):
        return "tool_calls" if calls else "stop"
    return None


def usage_in(payload: Any) -> Usage | None:
    """Disjoint usage, by the rules of `usage_of`: the numbers here mean what they mean there, under other names."""
    if not isinstance(payload, dict):
        return None
    renamed = {
        "prompt_tokens": payload.get("input_tokens"),
        "completion_tokens": payload.get("output_tokens"),
        "total_tokens": payload.get("total_tokens"),
        "prompt_tokens_details": payload.get("input_tokens_details"),
        "completion_tokens_details": payload.get("output_tokens_details"),
    }
    return usage_of(renamed)


def usage_of_reply(reply: Reply) -> Usage | None:
    """With the service tier and what the vendor's own tools did, which an answer tells beside its usage."""
    usage = at_tier(usage_in(reply.usage), reply.service_tier)
    output = bytes(reply.output)
    if usage is None or not any(mark in output for mark in _TOOLS):
        return usage
    try:
        kinds = _decode_kinds(reply.output)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return usage
    # Opening a page that was found, and looking something up on it, are no searches.
    webs = [kind for kind in kinds if kind.type == "web_search_call"]
    searches = [one for one in webs if not isinstance(one.action, dict) or one.action.get("type") in (None, "search")]
    containers = {str(kind.container_id) for kind in kinds if kind.type == "code_interpreter_call"}
    return replace(
        usage,
        web_searches=len(searches),
        file_searches=sum(kind.type == "file_search_call" for kind in kinds),
        sessions=len(containers),
    )


def encode_usage(usage: Usage) -> Json:
    """`usage_in` turns it back, but for the life of a cache write. Sound and pictures are told only where there are."""
    into: Json = {
        "cached_tokens": usage.total_cache_read,
        "cache_write_tokens": usage.cache_write + usage.cache_write_1h,
    }
    out: Json = {"reasoning_tokens": usage.reasoning}
    for details, audio, image in (
        (into, usage.audio_input + usage.audio_cache_read, usage.image_input + usage.image_cache_read),
        (out, usage.audio_output, usage.image_output),
    ):
        details.update({name: n for name, n in (("audio_tokens", audio), ("image_tokens", image)) if n})
    return {
        "input_tokens": usage.total_input,
        "input_tokens_details": into | kept_details(usage),
        "output_tokens": usage.total_output,
        "output_tokens_details": out,
        "total_tokens": usage.total,
    }


def read_whole(body: bytes) -> Whole:
    """Texts are skipped where usage is told. DialectError where the body is no answer of this dialect."""
    try:
        reply = _decode_reply(body)
        kinds = [] if reply.output is _NULL else _decode_kinds(reply.output)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise DialectError("the answer is not a response") from None
    error = decode_error(reply.error)
    if reply.output is _NULL and error is None:
        raise DialectError("the answer is not a response")
    if error is None and reply.status == "failed":
        error = decode_error({"message": "the upstream ended the answer with an error"})
    calls = any(kind.type in ("function_call", "custom_tool_call") for kind in kinds)
    usage = usage_of_reply(reply)
    return Whole(
        usage=usage,
        finish_reason=finish_of(reply, calls) if error is None else None,
        error=error,
        id=reply.id if isinstance(reply.id, str) else None,
        text=_text_of(output_of(reply, UNKNOWN)) if usage is None and error is None else "",
    )


def _text_of(items: Items) -> str:
    said: list[str] = []
    for item in items:
        match item:
            case MessageItem(_, parts):
                said += [part.text for part in parts if isinstance(part, TextPart | RefusalPart)]
            case ReasoningItem(text):
                said.append(text)
            case ToolCallItem(_, name, arguments):
                said += [name, arguments]
    return "".join(said)


def encode_response(response: InnerResponse, head: ReplyHead) -> bytes:
    """A Response of the first choice: this dialect has no others."""
    choice = response.choices[0] if response.choices else Choice(())
    reply = response_object(head, choice.finish, encode_output(choice.items, head, choice.finish))
    if response.usage is not None:
        reply["usage"] = encode_usage(response.usage)
    return _encode(reply)


def response_object(head: ReplyHead, finish: str | None, output: list[Json | Raw]) -> Json:
    """A Response that has ended for this inner reason; None: it broke off."""
    return {
        "id": with_prefix("resp", head.id),
        "object": "response",
        "created_at": head.created,
        "status": "incomplete" if was_cut(finish) else "completed",
        "completed_at": None,
        "model": head.model,
        "output": output,
        **_DEFAULTS,
        **(echo_of(head.request) if head.request is not None and head.request.dialect == DIALECT else {}),
        "incomplete_details": {"reason": _CUT[finish]} if finish in _CUT else None,
    }


def was_cut(finish: str | None) -> bool:
    """Whether an answer with this inner reason is `incomplete`."""
    return finish is None or finish in _CUT


def with_prefix(prefix: str, id: str) -> str:
    """An id in this dialect's form; one that has it already stays as it is."""
    return id if id.startswith(f"{prefix}_") else f"{prefix}_{id}"


def item_id(prefix: str, head: ReplyHead, index: int) -> str:
    return f"{prefix}_{head.id.removeprefix('resp_')}_{index}"


def encode_output(items: Items, head: ReplyHead, finish: str | None) -> list[Json | Raw]:
    """The last item is incomplete where the answer is."""
    output: list[Json | Raw] = []
    for position, item in enumerate(items):
        status = "incomplete" if was_cut(finish) and position == len(items) - 1 else "completed"
        said = _encode_item(item, head, len(output), status)
        if said is not None:
            output.append(said)
    return output


def _encode_item(item: Item, head: ReplyHead, index: int, status: str) -> Json | Raw | None:
    match item:
        case MessageItem("assistant", (OpaquePart(dialect, payload),)):
            return Raw(payload) if dialect == DIALECT else None
        case MessageItem(_, parts):
            content = [said for part in parts if (said := _encode_part(part)) is not None]
            return {**message_item(item_id("msg", head, index), status), "content": content}
        case ToolCallItem(kind=kind):
            return {**encode_call(item), "id": item_id(PREFIX_OF[kind], head, index), "status": status}
        case ReasoningItem(text, state):
            summary = [{"type": "summary_text", "text": text}] if text else []
            return reasoning_item(item_id("rs", head, index), summary, state or NO_STATE)
        case CompactionItem(state):
            return {"type": "compaction", "id": item_id("cmp", head, index), "encrypted_content": seal(state)}
    return None


def _encode_part(part: Part) -> Json | None:
    """An answer holds text and refusals; sound is what it says."""
    match part:
        case TextPart(text):
            return text_part(text)
        case RefusalPart(text):
            return refusal_part(text)
        case AudioPart(transcript=str(text)):
            return text_part(text)
    return None


PREFIX_OF: Final = {"function": "fc", "custom": "ctc"}


def message_item(id: str, status: str) -> Json:
    return {"type": "message", "id": id, "status": status, "role": "assistant", "content": []}


def reasoning_item(id: str, summary: list[Json], state: OpaqueState) -> Json:
    return {
        "type": "reasoning",
        "id": id,
        "summary": summary,
        "encrypted_content": seal(state),
        "status": "completed",
    }


def text_part(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def refusal_part(text: str) -> Json:
    return {"type": "refusal", "refusal": text}
