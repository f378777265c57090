"""Content blocks of the Messages API to items and parts: of a client's messages and of a provider's answer.

What any model could read becomes readable: a plain text document and a search result turn into text, and marks that
guide only this API (cache breakpoints, citations) are left out. What only this API can run or look up (its own tools
and their results, uploaded files) stays an opaque part, byte for byte.
"""

from collections.abc import Callable
from typing import Final

from msgspec import Raw, Struct
from msgspec.json import Decoder

from posthouse.core.items import (
    CompactionItem,
    Item,
    MessageItem,
    OpaqueState,
    ReasoningItem,
    ToolCallItem,
    ToolResultItem,
)
from posthouse.core.parts import FilePart, ImagePart, OpaquePart, Part, Parts, TextPart
from posthouse.dialects.anthropic_fields import DIALECT, read, refusal, type_at
from posthouse.dialects.codec import Maker
from posthouse.dialects.fields import kind_of
from posthouse.dialects.opaque import unseal

_NULL: Final = Raw(b"null")
# What signs thoughts that came without state: so it is known, on its way back, that no one can go on from them.
NO_STATE: Final = OpaqueState("", "", "", b"")


class _Text(Struct):
    text: str


class _Base64(Struct, tag_field="type", tag="base64"):
    media_type: str
    data: str


class _Url(Struct, tag_field="type", tag="url"):
    url: str


class _Uploaded(Struct, tag_field="type", tag="file"):
    file_id: str


class _PlainText(Struct, tag_field="type", tag="text"):
    data: str


class _Blocks(Struct, tag_field="type", tag="content"):
    content: str | list[Raw]


class _Image(Struct):
    source: _Base64 | _Url | _Uploaded


class _Document(Struct):
    source: _Base64 | _Url | _Uploaded | _PlainText | _Blocks
    title: str | None = None


class _SearchResult(Struct):
    content: list[_Text]
    source: str
    title: str


class _Thinking(Struct):
    thinking: str
    signature: str = ""


class _Redacted(Struct):
    data: str


class _ToolUse(Struct):
    id: str
    name: str
    input: Raw
    toolset_name: str | None = None
    caller: Raw = _NULL


class _ToolResult(Struct):
    tool_use_id: str
    content: str | list[Raw] | None = None
    is_error: bool | None = None


class _Caller(Struct):
    type: str | None = None


_text: Final = Decoder(_Text)
_image: Final = Decoder(_Image)
_document: Final = Decoder(_Document)
_search_result: Final = Decoder(_SearchResult)
_thinking: Final = Decoder(_Thinking)
_redacted: Final = Decoder(_Redacted)
_tool_use: Final = Decoder(_ToolUse)
_tool_result: Final = Decoder(_ToolResult)
_caller: Final = Decoder(_Caller | None)
_content: Final = Decoder(str | list[Raw])


class BlockReader:
    """Reads the messages of one conversation in their order.

    `maker` made the thinking in a provider's answer. None: a client sends it back, sealed or as this API's models made
    it, and nobody knows which of them. InvalidRequest, wherever something does not fit, names the member.
    """

    def __init__(self, maker: Maker | None = None) -> None:
        self._maker = maker
        # Calls that only this API understands (of its toolsets, or made by its own code): their results go with them.
        self._opaque_calls: set[str] = set()
        self._readers: dict[str, Callable[[Raw, str], Item]] = {
            "thinking": self._read_thinking,
            "redacted_thinking": self._read_redacted,
            "compaction": self._read_compaction,
        }

    def items(self, role: str, content: Raw, where: str) -> list[Item]:
        """The items of one message, whose content stands at `where`."""
        value = read(_content, content, where)
        if isinstance(value, str):
            return [MessageItem(role, (TextPart(value),) if value else ())]
        items: list[Item] = []
        parts: list[Part] = []
        for index, raw in enumerate(value):
            found = self._block(raw, f"{where}.{index}")
            if isinstance(found, tuple):
                parts += found
                continue
            if parts:
                items.append(MessageItem(role, tuple(parts)))
                parts = []
            items.append(found)
        if parts or not items:
            items.append(MessageItem(role, tuple(parts)))
        return items

    def _block(self, raw: Raw, where: str) -> Item | Parts:
        kind = type_at(raw, where)
        if kind == "tool_use":
            return self._read_call(raw, where)
        if kind == "tool_result":
            return self._read_result(raw, where)
        reader = self._readers.get(kind)
        return decode_part(raw, kind, where) if reader is None else reader(raw, where)

    def _read_call(self, raw: Raw, where: str) -> Item | Parts:
        call = read(_tool_use, raw, where)
        if self._maker is not None and call.input == _NULL:  # of a vendor that has nothing to say, as in a stream
            return ToolCallItem(call.id, call.name, "{}")
        if kind_of(call.input) != "an object":
            raise refusal(f"{where}.input", "Input should be an object", "invalid_type")
        caller = read(_caller, call.caller, f"{where}.caller")
        if call.toolset_name is not None or (caller is not None and caller.type not in (None, "direct")):
            self._opaque_calls.add(call.id)
            return (OpaquePart(DIALECT, bytes(raw)),)
        return ToolCallItem(call.id, call.name, bytes(call.input).decode())

    def _read_result(self, raw: Raw, where: str) -> Item | Parts:
        result = read(_tool_result, raw, where)
        if result.tool_use_id in self._opaque_calls:
            return (OpaquePart(DIALECT, bytes(raw)),)
        parts = decode_parts(result.content or "", f"{where}.content")
        return ToolResultItem(result.tool_use_id, parts, result.is_error is True)

    def _read_thinking(self, raw: Raw, where: str) -> Item:
        block = read(_thinking, raw, where)
        return ReasoningItem(block.thinking, self._state(raw, block.signature) if block.signature else None)

    def _read_redacted(self, raw: Raw, where: str) -> Item:
        return ReasoningItem("", self._state(raw, read(_redacted, raw, where).data))

    def _read_compaction(self, raw: Raw, where: str) -> Item:
        return CompactionItem(self._state_of(raw))

    def _state(self, raw: Raw, token: str) -> OpaqueState | None:
        state = unseal(token) if self._maker is None else None
        return (state or self._state_of(raw)) if state != NO_STATE else None

    def _state_of(self, raw: Raw) -> OpaqueState:
        maker = self._maker or Maker("", "", "")
        return OpaqueState(maker.provider, maker.model, maker.account, bytes(raw))


def decode_parts(content: str | list[Raw], where: str) -> Parts:
    """Content without items in it: of a system prompt, a tool's result, a document."""
    if isinstance(content, str):
        return (TextPart(content),) if content else ()
    parts: list[Part] = []
    for index, raw in enumerate(content):
        parts += decode_part(raw, type_at(raw, f"{where}.{index}"), f"{where}.{index}")
    return tuple(parts)


def decode_part(raw: Raw, kind: str, where: str) -> Parts:
    """A block that is no item of its own. One of a type that we do not know stays as it is."""
    match kind:
        case "text":
            text = read(_text, raw, where).text
            return (TextPart(text),) if text else ()
        case "image":
            return (_decode_image(raw, where),)
        case "document":
            return _decode_document(raw, where)
        case "search_result":
            found = read(_search_result, raw, where)
            return _titled(f"{found.title}\n{found.source}", tuple(TextPart(part.text) for part in found.content))
        case _:
            return (OpaquePart(DIALECT, bytes(raw)),)


def _decode_image(raw: Raw, where: str) -> Part:
    match read(_image, raw, where).source:
        case _Base64(media_type=kind, data=data):
            return ImagePart(f"data:{kind};base64,{data}")
        case _Url(url=url):
            return ImagePart(url)
        case _Uploaded():
            return OpaquePart(DIALECT, bytes(raw))


def _decode_document(raw: Raw, where: str) -> Parts:
    document = read(_document, raw, where)
    match document.source:
        case _Base64(media_type=kind, data=data):
            return (FilePart(data=f"data:{kind};base64,{data}", filename=document.title),)
        case _Uploaded(file_id=file_id):
            return (FilePart(file_id=file_id, filename=document.title),)
        case _PlainText(data=text):
            return _titled(document.title, (TextPart(text),))
        case _Blocks(content=content):
            return _titled(document.title, _decode_simple(content, f"{where}.source.content"))
        case _Url():
            return (OpaquePart(DIALECT, bytes(raw)),)


def _decode_simple(content: str | list[Raw], where: str) -> Parts:
    """Content of a document, which holds texts and images and so never goes deeper."""
    for index, raw in enumerate(content if isinstance(content, list) else ()):
        if type_at(raw, f"{where}.{index}") not in ("text", "image"):
            raise refusal(f"{where}.{index}.type", "Input should be 'text' or 'image'")
    return decode_parts(content, where)


def _titled(title: str | None, parts: Parts) -> Parts:
    """A title on a line of its own above the first text."""
    if not title:
        return tuple(part for part in parts if not (isinstance(part, TextPart) and not part.text))
    first = parts[0] if parts else None
    if isinstance(first, TextPart):
        return (TextPart(f"{title}\n\n{first.text}"), *parts[1:])
    return (TextPart(title), *parts)
