"""Parts to content blocks of the Messages API; and the ids and inputs of calls, which it takes in one form only."""

import binascii
import re
from base64 import b64decode
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct
from msgspec.json import Decoder

from posthouse.core.items import OpaqueState, ToolCallItem
from posthouse.core.parts import AudioPart, FilePart, ImagePart, OpaquePart, Part, Parts, RefusalPart, TextPart
from posthouse.dialects.anthropic_fields import DIALECT, Json
from posthouse.dialects.codec import Maker

_IMAGES: Final = {"image/jpg": "image/jpeg"} | {
    kind: kind for kind in ("image/jpeg", "image/png", "image/gif", "image/webp")
}
_DATA_URL: Final = re.compile(r"data:([^;,]*)[^,]*;base64,(.*)", re.DOTALL)
_NO_ID: Final = re.compile(r"[^a-zA-Z0-9_-]")
_decode_object: Final = Decoder(dict[str, Any]).decode
_encode: Final = msgspec.json.Encoder().encode


class Losses:
    """What could not be said, by its inner name; each once, in order of appearance."""

    def __init__(self) -> None:
        self._names: dict[str, None] = {}

    def add(self, name: str) -> None:
        self._names[name] = None

    def names(self) -> tuple[str, ...]:
        return tuple(self._names)


class ToolIds:
    """Ids of calls as `^[a-zA-Z0-9_-]+$`, each given once: some vendors count calls anew in every turn."""

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}  # each with the number that it was last given for

    def new(self, call_id: str) -> str:
        plain = name = _NO_ID.sub("_", call_id) or "call"
        count = self._taken.get(plain, 0)
        while name in self._taken:
            count += 1
            name = f"{plain}_{count}"
        self._taken[name] = 1
        self._taken[plain] = max(count, 1)
        return name


def call_input(item: ToolCallItem) -> Json | Raw:
    """The input of a call, always an object: a custom tool's text as `input`, what is no object as `_raw`."""
    text = item.arguments
    if item.kind == "custom":
        return {"input": text}
    if not text.strip():
        return {}
    try:
        payload = text.encode()
        _decode_object(payload)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return {"_raw": text}
    return Raw(payload)


class _Kind(Struct, gc=False):
    type: str


_decode_kind: Final = Decoder(_Kind).decode


def own_state(state: OpaqueState | None, maker: Maker, own: bool) -> Raw | None:
    """The block that `state` is, byte for byte, where `maker` made it; where `own`, also that of an unknown maker.

    A client may have written the state itself, so only one whole block of thinking (or of compaction) passes.
    """
    if state is None:
        return None
    made_by = Maker(state.provider, state.model, state.account)
    if made_by != maker and not (own and made_by == _UNKNOWN):
        return None
    try:
        str(state.payload, "utf-8")  # msgspec does not look into the strings that it skips
        kind = _decode_kind(state.payload).type
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return Raw(state.payload) if kind in ("thinking", "redacted_thinking", "compaction") else None


_UNKNOWN: Final = Maker("", "", "")


def encode_parts(parts: Parts, losses: Losses, *, texts_only: bool = False) -> list[Any]:
    """Blocks of content; blank text, which the API refuses, is left out. `texts_only`: of a system prompt and of the
    assistant, whose messages hold no images and no documents."""
    blocks = [_encode_part(part, losses, texts_only) for part in parts]
    return [block for block in blocks if block is not None]


def text_block(text: str) -> Json | None:
    return {"type": "text", "text": text} if text.strip() else None


def _encode_part(part: Part, losses: Losses, texts_only: bool) -> Json | Raw | None:
    match part:
        case TextPart(text) | RefusalPart(text):
            return text_block(text)
        case ImagePart(url, detail):
            block = None if texts_only else _encode_image(url)
            if block is not None and detail not in (None, "auto"):
                losses.add("part.detail")
            return block or _lost("part.image", losses)
        case FilePart():
            block = None if texts_only else _encode_file(part, losses)
            return block or _lost("part.file", losses)
        case AudioPart():
            losses.add("part.audio")
            return text_block(part.transcript or "")
        case OpaquePart(dialect, payload):
            return Raw(payload) if dialect == DIALECT else _lost("part.opaque", losses)


def _lost(name: str, losses: Losses) -> Json | None:
    losses.add(name)
    return None


def _encode_image(url: str) -> Json | None:
    inline = _DATA_URL.fullmatch(url)
    if inline is not None:
        kind = _IMAGES.get(inline[1].lower())
        if kind is None:
            return None
        return {"type": "image", "source": {"type": "base64", "media_type": kind, "data": inline[2]}}
    if url.startswith(("https://", "http://")):
        return {"type": "image", "source": {"type": "url", "url": url}}
    return None


def _encode_file(part: FilePart, losses: Losses) -> Json | None:
    if part.data is not None:
        source = _source_of(part.data)
    elif part.file_id is not None:
        source = {"type": "file", "file_id": part.file_id}
    else:
        source = None
    if source is None:
        return None
    if source.get("media_type") in _IMAGES:
        if part.filename:
            losses.add("part.filename")
        return {"type": "image", "source": source}
    block: Json = {"type": "document", "source": source}
    if part.filename:
        block["title"] = part.filename
    return block


def _source_of(url: str) -> Json | None:
    inline = _DATA_URL.fullmatch(url)
    if inline is None:
        return None
    kind, data = inline[1].lower(), inline[2]
    if kind == "application/pdf":
        return {"type": "base64", "media_type": kind, "data": data}
    if kind in _IMAGES:
        return {"type": "base64", "media_type": _IMAGES[kind], "data": data}
    if kind.startswith("text/") or kind == "application/json":
        try:
            return {"type": "text", "media_type": "text/plain", "data": b64decode(data, validate=True).decode()}
        except (binascii.Error, ValueError):
            return None
    return None
