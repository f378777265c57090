"""Items of the Responses API to and from the inner form, which is made after them.

An item that the inner form has no words for (a search, a computer's screen, a patch) is carried as it came: as an
assistant's message whose only part is opaque. So such a message is always a whole item, never a part.

Reasoning and compactions are opaque state with a text beside it. What a model of this dialect made is the whole item,
byte for byte; what another made travels sealed in `encrypted_content` (dialects/opaque.py). Thoughts without state are
sealed too, with an empty payload: their id is ours, and the API refuses to be sent an id that it does not know.
"""

import re
from typing import Any, Final, Literal

import msgspec
from msgspec import Raw, Struct
from msgspec.json import Decoder

from posthouse.core.errors import InvalidRequest
from posthouse.core.items import (
    CompactionItem,
    Item,
    Items,
    MessageItem,
    OpaqueState,
    ReasoningItem,
    ToolCallItem,
    ToolResultItem,
)
from posthouse.core.parts import AudioPart, FilePart, ImagePart, OpaquePart, Part, Parts, RefusalPart, TextPart
from posthouse.dialects.codec import Maker
from posthouse.dialects.fields import missing
from posthouse.dialects.opaque import unseal
from posthouse.dialects.openai_chat_parts import as_failed

DIALECT: Final = "openai_responses"
UNKNOWN: Final = Maker("", "", "")
Json = dict[str, Any]


class _Head(Struct, gc=False):
    type: str | None = None
    role: Any = None


class _Message(Struct, gc=False):
    role: str
    content: str | list[Raw]


class _Call(Struct, gc=False):
    call_id: str
    name: str
    arguments: str


class _CustomCall(Struct, gc=False):
    call_id: str
    name: str
    input: str


class _Output(Struct, gc=False):
    call_id: str
    output: str | list[Raw]


class _Thought(Struct, gc=False):
    text: str


class Reasoning(Struct, gc=False):
    """What a reasoning item shows, and what makes it worth being sent back."""

    id: str | None = None
    summary: list[_Thought] | None = None
    content: list[_Thought] | None = None
    encrypted_content: str | None = None

    def text(self) -> str:
        return "\n\n".join([thought.text for thought in (*(self.summary or ()), *(self.content or ()))])


class _Compaction(Struct, gc=False):
    encrypted_content: str


_MODEL_OF: Final[dict[str, type[Struct]]] = {
    "message": _Message,
    "function_call": _Call,
    "custom_tool_call": _CustomCall,
    "function_call_output": _Output,
    "custom_tool_call_output": _Output,
    "reasoning": Reasoning,
    "compaction": _Compaction,
}
_DECODE: Final = {name: Decoder(model).decode for name, model in _MODEL_OF.items()}
_decode_head = Decoder(_Head).decode
# msgspec's own words: "Expected `str`, got `int` - at `$.content[0].text`", "Object missing required field `name`".
_PLACE: Final = re.compile(r" - at `\$(.*)`$", re.DOTALL)
_LACKING: Final = re.compile(r"required field `([^`]*)`")


def decode_items(payloads: list[Raw], where: str, maker: Maker | None = None) -> Items:
    """`maker` is who made the answer that these are the output of; None where a client sent them.

    InvalidRequest naming the member that does not fit.
    """
    return tuple([decode_item(payload, f"{where}[{index}]", maker) for index, payload in enumerate(payloads)])


def decode_item(  # noqa: PLR0911 (one for each kind)
    payload: Raw, where: str, maker: Maker | None = None
) -> Item:
    """One item; `where` is its name in an error."""
    head = _decode(_decode_head, payload, where)
    kind = head.type
    if kind is None:
        if head.role is None:
            raise missing(f"{where}.type")
        kind = "message"
    decode = _DECODE.get(kind)
    if decode is None:
        return _kept(payload)
    match _decode(decode, payload, where):
        case _Message(role, content):
            return _message(payload, role, decode_parts(content, f"{where}.content"))
        case _Call(call_id, name, arguments):
            return ToolCallItem(call_id, name, arguments)
        case _CustomCall(call_id, name, text):
            return ToolCallItem(call_id, name, text, "custom")
        case _Output(call_id, output):
            return ToolResultItem(call_id, decode_parts(output, f"{where}.output"))
        case Reasoning() as reasoning:
            return ReasoningItem(reasoning.text(), _state(payload, reasoning, maker))
        case _Compaction(encrypted):
            return CompactionItem(_opened(payload, encrypted, maker) or OpaqueState("", "", "", bytes(payload)))
    raise AssertionError(kind)


def _message(payload: Raw, role: str, parts: Parts) -> MessageItem:
    if role == "assistant" and len(parts) == 1 and isinstance(parts[0], OpaquePart):
        return _kept(payload)
    return MessageItem(role, parts)


def _kept(payload: Raw) -> MessageItem:
    return MessageItem("assistant", (OpaquePart(DIALECT, bytes(payload)),))


def state_of(payload: Raw, reasoning: Reasoning, maker: Maker) -> OpaqueState | None:
    """What must go back to `maker` with the next request; None where nothing in the item could be of use to it."""
    if not (reasoning.encrypted_content or reasoning.id):
        return None
    return OpaqueState(maker.provider, maker.model, maker.account, bytes(payload))


def _state(payload: Raw, reasoning: Reasoning, maker: Maker | None) -> OpaqueState | None:
    if maker is None and reasoning.encrypted_content:
        return _opened(payload, reasoning.encrypted_content, None)
    return state_of(payload, reasoning, maker or UNKNOWN)


def _opened(payload: Raw, encrypted: str, maker: Maker | None) -> OpaqueState | None:
    """The state that a client or a provider sent; None where it was ours and empty."""
    if maker is None:
        state = unseal(encrypted)
        if state is not None:
            return state if state.payload else None
        maker = UNKNOWN
    return OpaqueState(maker.provider, maker.model, maker.account, bytes(payload))


class _Typed(Struct, gc=False):
    type: str


class _Text(Struct, gc=False):
    text: str


class _Refusal(Struct, gc=False):
    refusal: str


class _Image(Struct, gc=False):
    image_url: str | None = None
    file_id: str | None = None
    detail: str | None = None


class _File(Struct, gc=False):
    file_id: str | None = None
    file_data: str | None = None
    file_url: str | None = None
    filename: str | None = None


class _Sound(Struct, gc=False):
    data: str
    format: str


class _Audio(Struct, gc=False):
    input_audio: _Sound


_PART_OF: Final[dict[str, type[Struct]]] = {
    "input_text": _Text,
    "output_text": _Text,
    "text": _Text,
    "refusal": _Refusal,
    "input_image": _Image,
    "input_file": _File,
    "input_audio": _Audio,
}
_DECODE_PART: Final = {name: Decoder(model).decode for name, model in _PART_OF.items()}
_decode_typed = Decoder(_Typed).decode


def decode_parts(content: str | list[Raw], where: str) -> Parts:
    """Content as text or as a list of parts. A part that we do not know stays as it is."""
    if isinstance(content, str):
        return (TextPart(content),) if content else ()
    return tuple([_decode_part(part, f"{where}[{index}]") for index, part in enumerate(content)])


def _decode_part(payload: Raw, where: str) -> Part:  # noqa: PLR0911 (one for each kind)
    decode = _DECODE_PART.get(_decode(_decode_typed, payload, where).type)
    if decode is None:
        return OpaquePart(DIALECT, bytes(payload))
    match _decode(decode, payload, where):
        case _Text(text):
            return TextPart(text)
        case _Refusal(text):
            return RefusalPart(text)
        case _Image(str() as url, _, detail):
            return ImagePart(url, detail)
        case _File(file_id, data, None, filename):
            return FilePart(file_id, data, filename)
        case _Audio(sound):
            return AudioPart(data=sound.data, format=sound.format)
    return OpaquePart(DIALECT, bytes(payload))  # a picture by its id, a file by its URL


def _decode(decode: Any, payload: Raw, where: str) -> Any:
    try:
        return decode(payload)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise invalid(error, where) from None


def invalid(error: Exception, where: str) -> InvalidRequest:
    """`error` of msgspec as a refusal that names the member: `input[2].content[0].text`."""
    said = str(error)
    place = _PLACE.search(said)
    param = where + (place[1] if place is not None else "")
    lacking = _LACKING.search(said)
    if lacking is not None:
        return missing(f"{param}.{lacking[1]}")
    reason = said[: place.start()] if place is not None and isinstance(error, msgspec.ValidationError) else "not valid"
    return InvalidRequest(f"Invalid '{param}': {reason.replace('`', '').lower()}.", param=param, code="invalid_value")


class ItemWriter:
    """Items as the `input` of a request to `maker`. `dropped` gathers what could not be said, by its inner name.

    `own`: the request came in this dialect, so that what only this dialect knows is said too.
    """

    def __init__(self, maker: Maker, own: bool) -> None:
        self._maker = maker
        self._own = own
        self._customs: set[str] = set()
        self.dropped: dict[str, None] = {}

    def write(self, items: Items) -> list[Json | Raw]:
        return [said for item in items if (said := self._item(item)) is not None]

    def _item(self, item: Item) -> Json | Raw | None:
        match item:
            case MessageItem("assistant", (OpaquePart() as only,)):
                return self._part(only, "assistant")
            case MessageItem():
                return self._message(item)
            case ToolCallItem():
                if item.kind == "custom":
                    self._customs.add(item.call_id)
                return encode_call(item)
            case ToolResultItem():
                kind = "custom_tool_call_output" if item.call_id in self._customs else "function_call_output"
                parts = as_failed(item.parts) if item.failed else item.parts
                return {"type": kind, "call_id": item.call_id, "output": self._parts(parts, "tool")}
            case ReasoningItem(_, state) | CompactionItem(state):
                payload = own_payload(state, self._maker, self._own)
                return None if payload is None else Raw(payload)

    def _message(self, item: MessageItem) -> Json | None:
        role = item.role
        if role not in _ROLES and not self._own:
            role = "user"
            self.dropped["role"] = None
        if item.name is not None:
            self.dropped["name"] = None
        content = self._parts(item.parts, role)
        if item.parts and not content:
            return None  # nothing in it could be said
        return {"type": "message", "role": role, "content": content}

    def _parts(self, parts: Parts, role: str) -> Any:
        """A string where it is one piece of text or nothing, else a list of parts."""
        if len(parts) == 1 and isinstance(parts[0], TextPart) and parts[0].text:
            return parts[0].text
        return [said for part in parts if (said := self._part(part, role)) is not None] or ""

    def _part(self, part: Part, role: str) -> Json | Raw | None:
        """An assistant says text and refusals only, everyone else anything but a refusal."""
        match part:
            case OpaquePart(dialect, payload):
                if dialect == DIALECT:
                    return Raw(payload)
                self.dropped["part.opaque"] = None
                return None
            case TextPart(text):
                return {"type": "output_text" if role == "assistant" else "input_text", "text": text}
            case RefusalPart(text):
                if role != "assistant":
                    return {"type": "input_text", "text": text}
                return {"type": "refusal", "refusal": text}
        said = None if role == "assistant" else _encode_media(part)
        if said is None:
            self.dropped[_NAME_OF[type(part)]] = None
        return said


_ROLES: Final = frozenset({"system", "developer", "user", "assistant"})
_NAME_OF: Final[dict[type, str]] = {ImagePart: "part.image", FilePart: "part.file", AudioPart: "part.audio"}


def _encode_media(part: ImagePart | FilePart | AudioPart) -> Json | None:
    match part:
        case ImagePart(url, detail):
            return _present({"type": "input_image", "image_url": url, "detail": detail})
        case FilePart(file_id, data, filename):
            return _present({"type": "input_file", "file_id": file_id, "file_data": data, "filename": filename})
        case AudioPart(data, form):
            if data is None:
                return None  # spoken in an earlier answer, which no one here has
            return {"type": "input_audio", "input_audio": {"data": data, "format": form or "wav"}}


def _present(members: Json) -> Json:
    return {name: value for name, value in members.items() if value is not None}


def encode_call(item: ToolCallItem) -> Json:
    if item.kind == "custom":
        return {"type": "custom_tool_call", "call_id": item.call_id, "name": item.name, "input": item.arguments}
    return {"type": "function_call", "call_id": item.call_id, "name": item.name, "arguments": item.arguments}


class _Own(Struct, gc=False):
    type: Literal["reasoning", "compaction"]


_decode_own = Decoder(_Own).decode


def own_payload(state: OpaqueState | None, maker: Maker, own: bool) -> bytes | None:
    """The item that `state` is, where `maker` made it; of an unknown maker where the request is of this dialect.

    A client may have written the state itself. It stands in a body as it is, so it must be one whole item and no more.
    """
    if state is None:
        return None
    made = Maker(state.provider, state.model, state.account)
    if made != maker and not (own and made == UNKNOWN):
        return None
    try:
        str(state.payload, "utf-8")
        _decode_own(state.payload)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return state.payload
