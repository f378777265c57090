"""Parts of a gemini content that are text or media, arguments of calls, and the signatures that parts bear."""

import mimetypes
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from typing import Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Raw
from msgspec.json import Decoder

from posthouse.core.items import OpaqueState, ToolCallItem
from posthouse.core.parts import AudioPart, FilePart, ImagePart, OpaquePart, Part, RefusalPart, TextPart
from posthouse.dialects.gemini_fields import DIALECT, ERRORS, Json, Members, invalid
from posthouse.dialects.opaque import seal, unseal

Lost = dict[str, None]
"""Inner names of what could not be said; a dict, so that each stands once and in order."""

_decode_object = Decoder(dict[str, Raw]).decode
_encode = msgspec.json.Encoder().encode
# Clients send base64 in either alphabet (google-genai 3.4 sends the URL's), other dialects know the standard one only.
_STANDARD: Final = str.maketrans("-_", "+/")
# What others call a format of audio, by the subtype that stands in a MIME type.
_FORMATS: Final = {"mpeg": "mp3", "x-wav": "wav", "wave": "wav", "vnd.wave": "wav", "x-flac": "flac"}
# Files that were uploaded to a provider have an address that nobody else can read.
_UPLOADED: Final = ("/v1beta/files/", "/v1/files/", "/v1alpha/files/", "/v1main/files/")


def decode_media(members: Members) -> Part:
    """The part of an object that bears neither text, a call nor a result; `thought` and signature are out already.

    What has no place in the inner form stays as it is, its values byte for byte.
    """
    whole = dict(members.rest())
    if (blob := members.object("inlineData")) is not None:
        return _decode_inline(blob)
    if (file := members.object("fileData")) is not None:
        uri, kind = file.string("fileUri"), file.string("mimeType")
        if uri is None:
            raise invalid(file.at("fileUri"), "a file needs an address")
        if _is_public_image(uri, kind):
            return ImagePart(uri)
    elif not members:
        raise invalid(members.path, "a part needs one of text, inlineData, fileData, functionCall, functionResponse")
    return OpaquePart(DIALECT, _encode(whole))


def _decode_inline(blob: Members) -> Part:
    kind, data, name = blob.string("mimeType"), blob.string("data"), blob.string("displayName")
    if kind is None:
        raise invalid(blob.at("mimeType"), "inline data needs a MIME type")
    data = standard_base64(data or "")
    family, _, subtype = kind.partition("/")
    if family == "audio" and name is None:
        return AudioPart(data=data, format=_FORMATS.get(subtype, subtype))
    url = f"data:{kind};base64,{data}"
    return ImagePart(url) if family == "image" and name is None else FilePart(data=url, filename=name)


def standard_base64(data: str) -> str:
    """Base64 of either alphabet in the standard one, padded."""
    if "-" in data or "_" in data:
        data = data.translate(_STANDARD)
    return data + "=" * (-len(data) % 4)


def _is_public_image(uri: str, kind: str | None) -> bool:
    try:
        parts = urlsplit(uri)
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or any(part in parts.path for part in _UPLOADED):
        return False
    return (kind or mimetypes.guess_type(parts.path)[0] or "").startswith("image/")


def encode_part(part: Part, lost: Lost) -> Json | None:
    """None where the part cannot be said, which `lost` then names; also for empty text, which nobody accepts."""
    encoded: Json | None = None
    match part:
        case TextPart(text) | RefusalPart(text):
            return {"text": text} if text else None
        case ImagePart(url, detail):
            if detail not in (None, "auto"):
                lost["part.detail"] = None
            encoded, name = _encode_image(url), "part.image"
        case FilePart(_, data, filename):
            encoded, name = None if data is None else _encode_data_url(data), "part.file"
            if filename is not None and encoded is not None:
                lost["part.filename"] = None
        case AudioPart(data, form, _, transcript):
            name = "part.audio"
            if data is not None:
                return {"inlineData": {"mimeType": f"audio/{form or 'wav'}", "data": data}}
            if transcript:
                lost[name] = None
                return {"text": transcript}
        case OpaquePart(dialect, payload):
            members = _object_in(payload) if dialect == DIALECT else None
            encoded, name = None if members is None else dict(members), "part.opaque"
    if encoded is None:
        lost[name] = None
    return encoded


def _encode_image(url: str) -> Json | None:
    if (inline := _encode_data_url(url)) is not None:
        return inline
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if parts.scheme not in ("http", "https", "gs"):
        return None
    kind = mimetypes.guess_type(parts.path)[0]
    return {"fileData": {"fileUri": url} if kind is None else {"mimeType": kind, "fileUri": url}}


def _encode_data_url(url: str) -> Json | None:
    head, comma, data = url.partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        return None
    return {"inlineData": {"mimeType": head[5:-7] or "application/octet-stream", "data": data}}


def _object_in(payload: bytes | str) -> dict[str, Raw] | None:
    try:
        return _decode_object(payload)
    except ERRORS:
        return None


# --- calls -------------------------------------------------------
def encode_call(item: ToolCallItem) -> Json:
    """The part of a call. Arguments are an object here: free text and broken JSON are wrapped in one."""
    arguments: Json | Raw
    if item.kind == "custom":
        arguments = {"input": item.arguments}
    elif not item.arguments.strip():
        arguments = {}
    elif is_object(item.arguments):
        arguments = Raw(item.arguments.encode())
    else:
        arguments = {"arguments": item.arguments}
    return {"functionCall": {"id": item.call_id, "name": item.name, "args": arguments}}


def is_object(text: str) -> bool:
    """Whether the text is a JSON object that can be written into another as it stands."""
    return _object_in(text) is not None


# --- signatures --------------------------------------------------
# How every sealed state begins once it is base64, as the field holds bytes and SDKs decode it (google-genai 3.4).
_SEALED: Final = b64encode(seal(OpaqueState("", "", "", b"")).encode()[:3]).decode()


def sealed(state: OpaqueState) -> str:
    """A signature for a client: its provider's own where nobody knows who made it, else sealed."""
    if not (state.provider or state.model or state.account):
        return state.payload.decode("utf-8", "replace")
    return b64encode(seal(state).encode()).decode()


def unsealed(signature: str) -> OpaqueState:
    """The state in a signature that a client sent; of unknown maker where we did not seal it."""
    if signature.startswith(_SEALED):
        try:
            text = b64decode(standard_base64(signature)).decode("ascii", "replace")
        except (Base64Error, ValueError):
            text = ""
        if (state := unseal(text)) is not None:
            return state
    return OpaqueState("", "", "", signature.encode())


def may_hold_sealed(body: bytes) -> bool:
    """Whether a client's body may bear state that was sealed for it.

    Such a body must not pass to a provider as it stands: its signatures mean nothing there. A false alarm is possible,
    and costs a translation.
    """
    return b'"' + _SEALED.encode() in body
