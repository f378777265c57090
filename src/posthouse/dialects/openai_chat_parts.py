"""Parts of a message's content in chat.completions, to and from the inner form."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct
from msgspec.json import Decoder

from posthouse.core.errors import InvalidRequest
from posthouse.core.parts import AudioPart, FilePart, ImagePart, OpaquePart, Part, Parts, RefusalPart, TextPart
from posthouse.dialects.fields import kind_of

DIALECT: Final = "openai_chat"
Json = dict[str, Any]
Dropped = dict[str, None]  # names in order of appearance, each once

# What a message of this role may hold (the published document); about other roles nothing is known: all passes.
_HOLDS: Final[Mapping[str, tuple[type[Part], ...]]] = {
    "system": (TextPart,),
    "developer": (TextPart,),
    "tool": (TextPart,),
    "user": (TextPart, ImagePart, FilePart, AudioPart),
    "assistant": (TextPart, RefusalPart),
}
_NAMES: Final[Mapping[type[Part], str]] = {
    ImagePart: "part.image",
    FilePart: "part.file",
    AudioPart: "part.audio",
    OpaquePart: "part.opaque",
}
# How the result of a tool begins that failed, in dialects that have no mark for it.
FAILED: Final = "The tool call failed:"
_PDF: Final = "JVBERi"  # base64 of `%PDF`


class _ImageUrl(Struct):
    url: str
    detail: str | None = None


class _AudioData(Struct):
    data: str
    format: str


class _FileRef(Struct):
    file_id: str | None = None
    file_data: str | None = None
    filename: str | None = None


class _Part(Struct):
    """The members of all kinds that we know. Marks beside them, such as those for a cache, have no inner form."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: _ImageUrl | str | None = None
    input_audio: _AudioData | None = None
    file: _FileRef | None = None
    thinking: Any = None


class _Type(Struct):
    type: str


_decode_text: Final = Decoder(str).decode
_decode_list: Final = Decoder(list[Raw]).decode
_decode_part: Final = Decoder(_Part).decode
_decode_type: Final = Decoder(_Type).decode
_KNOWN: Final = frozenset({"text", "refusal", "image_url", "input_audio", "file", "thinking"})


def decode_content(content: Raw, where: str) -> tuple[Parts, str]:
    """Content that is a string, null, or an array of parts; and what is thought among them, which some vendors put
    there. InvalidRequest naming the part that does not fit; one of a kind that we do not know stays as it is."""
    kind = kind_of(content)
    if kind == "null":
        return (), ""
    try:
        if kind == "a string":
            text = _decode_text(content)
            return ((TextPart(text),) if text else ()), ""
        if kind != "an array":
            raise invalid(where, "expected a string or an array of parts")
        raws = _decode_list(content)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise invalid(where, "expected a string or an array of parts") from None
    parts: list[Part] = []
    thoughts: list[str] = []
    for index, raw in enumerate(raws):
        part = _part(raw, f"{where}[{index}]")
        if isinstance(part, str):
            thoughts.append(part)
        else:
            parts.append(part)
    return tuple(parts), "".join(thoughts)


def _part(raw: Raw, where: str) -> Part | str:  # noqa: PLR0911 (one for each kind)
    """The part, or a thought as plain text."""
    try:
        if (kind := _decode_type(raw).type) not in _KNOWN:
            return OpaquePart(DIALECT, bytes(raw))
        match _decode_part(raw):
            case _Part(type="text", text=str(text)):
                return TextPart(text)
            case _Part(type="refusal", refusal=str(text)):
                return RefusalPart(text)
            case _Part(type="image_url", image_url=str(url)):
                return ImagePart(url)
            case _Part(type="image_url", image_url=_ImageUrl() as image):
                return ImagePart(image.url, image.detail)
            case _Part(type="input_audio", input_audio=_AudioData() as audio):
                return AudioPart(data=audio.data, format=audio.format)
            case _Part(type="file", file=_FileRef() as file):
                return FilePart(file.file_id, _data_url(file.file_data), file.filename)
            case _Part(type="thinking", thinking=thinking):
                return text_in(thinking)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise invalid(where, "expected an object with a type and what belongs to it") from None
    raise invalid(where, f"a part of type '{kind}' lacks what it is called after")


def text_in(value: Any) -> str:
    """The text in a string, or in a list of objects that have one."""
    if isinstance(value, str):
        return value
    texts = [part.get("text") for part in value if isinstance(part, dict)] if isinstance(value, list) else []
    return "".join([text for text in texts if isinstance(text, str)])


def _data_url(data: str | None) -> str | None:
    """Clients send a `data:` URL, or bare base64."""
    if data is None or data.startswith("data:"):
        return data
    return f"data:application/{'pdf' if data.startswith(_PDF) else 'octet-stream'};base64,{data}"


def fitting(role: str, parts: Parts, dropped: Dropped) -> list[Part]:
    """The parts that a message of this role may hold. A refusal is text elsewhere, and speech in its place is what it
    says."""
    holds = _HOLDS.get(role)
    kept: list[Part] = []
    for part in parts:
        if isinstance(part, OpaquePart):
            fits = part.dialect == DIALECT
        elif isinstance(part, AudioPart) and role == "assistant":
            fits = part.id is not None  # referred to, beside the content
        elif isinstance(part, AudioPart) and part.data is None:
            fits = False
        else:
            fits = holds is None or isinstance(part, holds)
        if fits:
            kept.append(part)
        elif isinstance(part, RefusalPart):
            kept.append(TextPart(part.text))
        elif isinstance(part, AudioPart) and part.transcript is not None:
            kept.append(TextPart(part.transcript))
            dropped["part.audio"] = None
        else:
            dropped[_NAMES[type(part)]] = None
    return kept


def encode_parts(parts: list[Part]) -> Any:
    """Content: a string where it is one piece of text, else a list of parts."""
    if not parts:
        return ""
    if len(parts) == 1 and isinstance(parts[0], TextPart) and parts[0].text:
        return parts[0].text
    return [_encode_part(part) for part in parts]


def _encode_part(part: Part) -> Any:
    match part:
        case TextPart(text):
            return {"type": "text", "text": text}
        case RefusalPart(text):
            return {"type": "refusal", "refusal": text}
        case ImagePart(url, detail):
            image = {"url": url} if detail is None else {"url": url, "detail": detail}
            return {"type": "image_url", "image_url": image}
        case FilePart(file_id, data, filename):
            members = (("file_id", file_id), ("file_data", data), ("filename", filename))
            return {"type": "file", "file": {name: value for name, value in members if value is not None}}
        case AudioPart(data, form):
            return {"type": "input_audio", "input_audio": {"data": data or "", "format": form or "wav"}}
        case OpaquePart(_, payload):
            return Raw(payload)


def as_failed(parts: Parts) -> Parts:
    """The parts of a result that say why it failed, and that it did."""
    match parts:
        case (TextPart(text),):
            return (TextPart(f"{FAILED}\n{text}"),)
        case _:
            return (TextPart(FAILED), *parts)


def invalid(param: str, message: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid '{param}': {message}.", param=param, code="invalid_value")
