"""Parts: what a message or a tool result is made of, in no dialect's words."""

from msgspec import Struct


class TextPart(Struct, frozen=True, tag="text"):
    text: str


class ImagePart(Struct, frozen=True, tag="image"):
    """`url` is `https://...` or `data:<type>;base64,...`; `detail` is how closely to look, None: as the model likes."""

    url: str
    detail: str | None = None


class FilePart(Struct, frozen=True, tag="file"):
    """A file by its id at a provider, or by its content as a `data:` URL."""

    file_id: str | None = None
    data: str | None = None
    filename: str | None = None


class AudioPart(Struct, frozen=True, tag="audio"):
    """Audio by its content (base64, `format` such as `wav`), or by the id of an earlier answer that spoke it.

    `transcript`: what it says, where whoever spoke it told.
    """

    data: str | None = None
    format: str | None = None
    id: str | None = None
    transcript: str | None = None


class RefusalPart(Struct, frozen=True, tag="refusal"):
    """What the model said instead of an answer."""

    text: str


class OpaquePart(Struct, frozen=True, tag="opaque"):
    """A part that only one dialect knows: its JSON, byte for byte. Left out by every other dialect."""

    dialect: str
    payload: bytes


Part = TextPart | ImagePart | FilePart | AudioPart | RefusalPart | OpaquePart
Parts = tuple[Part, ...]
