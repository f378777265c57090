"""Whole answers of gemini: to and from the inner form, and what the spine reads of one.

An answer that calls functions ends with STOP like any other: only its parts say so. A prompt that was refused has no
candidates at all.
"""

from hashlib import blake2s
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct
from msgspec.json import Decoder

from posthouse.core.errors import InvalidRequest
from posthouse.core.items import Choice, InnerResponse, Items, OpaqueState, ToolCallItem
from posthouse.dialects.codec import Maker, ReplyHead, Whole
from posthouse.dialects.errors import DialectError
from posthouse.dialects.gemini_contents import ContentReader, ContentWriter
from posthouse.dialects.gemini_errors import error_in
from posthouse.dialects.gemini_fields import ERRORS, NULL, Json, Members
from posthouse.dialects.gemini_parts import sealed
from posthouse.dialects.gemini_usage import usage_in, usage_payload

_NO_ANSWER: Final = "the answer is no GenerateContentResponse"
_encode = msgspec.json.Encoder().encode

_FINISH: Final = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    **dict.fromkeys(
        (
            "SAFETY",
            "RECITATION",
            "LANGUAGE",
            "BLOCKLIST",
            "PROHIBITED_CONTENT",
            "SPII",
            "IMAGE_SAFETY",
            "IMAGE_PROHIBITED_CONTENT",
            "IMAGE_RECITATION",
            "MODEL_ARMOR",
            "ESCALATION",
            "PUP_LIMITED_DISABLED",
        ),
        "content_filter",
    ),
}
# The others, that pass in lower case (google-genai 3.4, FinishReason).
_OTHERS: Final = frozenset(
    {
        "OTHER",
        "MALFORMED_FUNCTION_CALL",
        "IMAGE_OTHER",
        "NO_IMAGE",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MISSING_THOUGHT_SIGNATURE",
        "MALFORMED_RESPONSE",
    }
)
_REASONS: Final = {"stop": "STOP", "tool_calls": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}


def finish_of(reason: str | None, called: bool) -> str | None:
    """The inner word for a finishReason. `called`: the candidate holds calls of functions."""
    if not reason or reason == "FINISH_REASON_UNSPECIFIED":
        return None
    if reason == "STOP" and called:
        return "tool_calls"
    return _FINISH.get(reason, reason.lower())


def reason_of(finish: str) -> str:
    """The finishReason for an inner word."""
    reason = finish.upper()
    return _REASONS.get(finish) or (reason if reason in _OTHERS else "OTHER")


def made_up_ids(seed: bytes) -> str:
    """The beginning of ids for the calls of one answer that gives none: the same for the same answer."""
    return f"call_{blake2s(seed, digest_size=8).hexdigest()}_"


class _Head(Struct, rename="camel", gc=False):
    """`candidates` stay bytes: they are read member by member, as those of a request are."""

    candidates: list[Raw] | None = None
    prompt_feedback: dict[str, Any] | None = None
    usage_metadata: Raw = NULL
    model_version: str | None = None
    response_id: str | None = None
    error: Any = None

    def is_answer(self) -> bool:
        return not self.error and (
            self.candidates is not None or self.prompt_feedback is not None or self.usage_metadata != NULL
        )


_decode_head = Decoder(_Head).decode


def decode_response(body: bytes, maker: Maker) -> InnerResponse:
    """DialectError where the body is no answer of this dialect."""
    try:
        if not body.isascii():
            str(body, "utf-8")
        head = _decode_head(body)
        if not head.is_answer():
            raise DialectError(_NO_ANSWER)
        made_up = made_up_ids((head.response_id or "").encode() or body)
        choices = _choices(head, maker, made_up)
    except (*ERRORS, InvalidRequest):
        raise DialectError(_NO_ANSWER) from None
    return InnerResponse(
        id=head.response_id or "",
        model=head.model_version or "",
        created=0,
        choices=choices,
        usage=usage_in(head.usage_metadata),
    )


def _choices(head: _Head, maker: Maker, made_up: str) -> tuple[Choice, ...]:
    if not head.candidates and head.prompt_feedback and head.prompt_feedback.get("blockReason"):
        return (Choice((), "content_filter"),)

    def state_of(signature: str) -> OpaqueState:
        return OpaqueState(maker.provider, maker.model, maker.account, signature.encode())

    choices: list[Choice] = []
    for number, raw in enumerate(head.candidates or ()):
        candidate = Members.of(raw, f"candidates[{number}]")
        reader = ContentReader(state_of, made_up if number == 0 else f"{made_up}{number}_")
        content = candidate.object("content")
        if content is not None and content.rest().get("parts", _EMPTY) != _EMPTY:
            content.raw("role")
            reader.read(content, "assistant")
        items = reader.said()
        called = any(isinstance(item, ToolCallItem) for item in items)
        choices.append(Choice(items, finish_of(candidate.string("finishReason"), called)))
    return tuple(choices)


_EMPTY: Final = Raw(b"[]")


def encode_response(response: InnerResponse, head: ReplyHead) -> bytes:
    """State goes sealed to the client, on the part that follows it."""
    body: Json = {
        "candidates": [_candidate(choice, index) for index, choice in enumerate(response.choices)],
        "modelVersion": head.model,
        "responseId": head.id,
    }
    if response.usage is not None:
        body["usageMetadata"] = usage_payload(response.usage)
    return _encode(body)


def _candidate(choice: Choice, index: int) -> Json:
    candidate: Json = {}
    parts = _parts(choice.items)
    if parts or choice.finish != "content_filter":
        candidate["content"] = {"parts": parts or [{"text": ""}], "role": "model"}
    if choice.finish is not None:
        candidate["finishReason"] = reason_of(choice.finish)
    candidate["index"] = index
    return candidate


def _parts(items: Items) -> list[Json]:
    writer = ContentWriter(sealed, {}, faithful=True)
    writer.write(items)
    return [part for content in writer.contents if content["role"] == "model" for part in content["parts"]]


# --- for the spine -----------------------------------------------
class _Call(Struct, gc=False):
    name: str = ""
    args: Raw = Raw(b"")


class _Part(Struct, rename="camel", gc=False):
    text: str | None = None
    function_call: _Call | None = None


class _Content(Struct, gc=False):
    parts: list[_Part] | None = None


class _Candidate(Struct, rename="camel", gc=False):
    content: _Content | None = None
    finish_reason: str | None = None

    def parts(self) -> list[_Part]:
        return (self.content.parts if self.content is not None else None) or []


class _Reply(Struct, rename="camel", gc=False):
    candidates: list[_Candidate] | None = None
    prompt_feedback: dict[str, Any] | None = None
    usage_metadata: Raw = NULL
    response_id: str | None = None
    error: Any = None


_decode_reply = Decoder(_Reply).decode


def read_whole(body: bytes) -> Whole:
    """DialectError where the body is no answer and no error of this dialect."""
    try:
        reply = _decode_reply(body)
    except ERRORS:
        reply = None
    if reply is None or reply.error:
        if (error := error_in(body)) is not None:
            return Whole(None, None, error)
        raise DialectError(_NO_ANSWER)
    candidates = reply.candidates or []
    if reply.candidates is None and reply.prompt_feedback is None and reply.usage_metadata == NULL:
        raise DialectError(_NO_ANSWER)
    usage = usage_in(reply.usage_metadata)
    finish: str | None = None
    for candidate in candidates:
        called = any([part.function_call is not None for part in candidate.parts()])
        finish = finish or finish_of(candidate.finish_reason, called)
    if not candidates and reply.prompt_feedback and reply.prompt_feedback.get("blockReason"):
        finish = "content_filter"
    text = "" if usage is not None else "".join([_text(part) for one in candidates for part in one.parts()])
    return Whole(usage, finish, None, reply.response_id, text)


def _text(part: _Part) -> str:
    call = part.function_call
    said = part.text or ""
    return said if call is None else said + call.name + bytes(call.args).decode("utf-8", "replace")
