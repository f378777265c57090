"""completions, whole answers: to and from the inner form, and of several prompts as one."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct
from msgspec.json import Decoder
from msgspec.structs import astuple

from posthouse.core.items import Choice, InnerResponse, Items, MessageItem
from posthouse.core.parts import AudioPart, RefusalPart, TextPart
from posthouse.core.usage import Usage
from posthouse.dialects.codec import ReplyHead, Whole
from posthouse.dialects.errors import DialectError
from posthouse.dialects.openai_chat_parts import Json
from posthouse.dialects.openai_errors import StreamError, decode_error
from posthouse.dialects.openai_finish import BROKEN, meant, written
from posthouse.dialects.openai_usage import NO_USAGE, usage_in, usage_payload

ID_PREFIX: Final = "cmpl-"
REASONS: Final = frozenset({"stop", "length", "content_filter"})
_ENDED: Final = StreamError("the upstream ended the answer with an error")
_NOTHING: Final = "the answer is not a completion"


class _Choice(Struct):
    text: str | None = None
    index: int | None = None
    finish_reason: Any = None
    error: Any = None


class _Answer(Struct):
    choices: list[_Choice] | None = None
    id: Any = None
    model: Any = None
    created: Any = None
    usage: Raw = NO_USAGE
    error: Any = None


_decode_answer: Final = Decoder(_Answer).decode
_decode_members: Final = Decoder(dict[str, Raw]).decode
_decode_choices: Final = Decoder(list[dict[str, Raw]]).decode
_encode = msgspec.json.Encoder().encode


def _read(body: bytes) -> _Answer:
    try:
        return _decode_answer(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise DialectError(_NOTHING) from None


def _index(choice: _Choice) -> int:
    return choice.index or 0


def decode_response(body: bytes) -> InnerResponse:
    """DialectError where the body is no completion."""
    answer = _read(body)
    if answer.choices is None:
        raise DialectError(_NOTHING)
    return InnerResponse(
        id=str(answer.id).removeprefix(ID_PREFIX) if isinstance(answer.id, str | int) else "",
        model=answer.model if isinstance(answer.model, str) else "",
        created=answer.created if type(answer.created) is int else 0,
        choices=tuple(
            Choice((MessageItem("assistant", (TextPart(choice.text or ""),)),), meant(choice.finish_reason))
            for choice in sorted(answer.choices, key=_index)
        ),
        usage=usage_in(answer.usage),
    )


def encode_response(response: InnerResponse, head: ReplyHead) -> bytes:
    prompt = echo_of(head)
    body: Json = {
        "id": ID_PREFIX + head.id,
        "object": "text_completion",
        "created": head.created,
        "model": head.model,
        "choices": [
            {
                "text": prompt + _text(choice.items),
                "index": index,
                "logprobs": None,
                "finish_reason": written(choice.finish, REASONS),
            }
            for index, choice in enumerate(response.choices)
        ],
    }
    if response.usage is not None:
        body["usage"] = usage_payload(response.usage)
    return _encode(body)


def echo_of(head: ReplyHead) -> str:
    """What each choice begins with: the prompt, where the client asked for it."""
    if head.request is None or not head.request.echo:
        return ""
    return _text(head.request.items)


def _text(items: Items) -> str:
    """What is said in words; thoughts and calls have no place here."""
    said: list[str] = []
    for part in [part for item in items if isinstance(item, MessageItem) for part in item.parts]:
        if isinstance(part, TextPart | RefusalPart):
            said.append(part.text)
        elif isinstance(part, AudioPart) and part.transcript is not None:
            said.append(part.transcript)
    return "".join(said)


def read_whole(body: bytes) -> Whole:
    """What the spine needs of an answer. DialectError where the body is none of this dialect."""
    answer = _read(body)
    error = decode_error(answer.error)
    finish: str | None = None
    for choice in answer.choices or ():
        broken = isinstance(choice.finish_reason, str) and choice.finish_reason in BROKEN
        if error is None and (choice.error or broken):
            error = decode_error(choice.error) or _ENDED
        finish = finish or meant(choice.finish_reason)
    usage = usage_in(answer.usage)
    text = "" if usage is not None else "".join([choice.text or "" for choice in answer.choices or ()])
    return Whole(usage, finish, error, answer.id if isinstance(answer.id, str) else None, text)


def join(answers: Sequence[bytes]) -> bytes:
    """One answer out of those to requests that were split, in the order of their prompts: choices are counted through,
    usage is the sum of all that was told, the rest is the first one's. DialectError where one is no completion."""
    whole: dict[str, Raw] = {}
    choices: list[dict[str, Raw]] = []
    usages: list[Usage] = []
    for body in answers:
        try:
            members = _decode_members(body)
            said = sorted(_decode_choices(members["choices"]), key=lambda choice: int(bytes(choice["index"])))
            usage = usage_in(members.get("usage", NO_USAGE))
        except (msgspec.DecodeError, UnicodeError, RecursionError, KeyError, ValueError):
            raise DialectError(_NOTHING) from None
        choices += [{**choice, "index": Raw(b"%d" % (len(choices) + place))} for place, choice in enumerate(said)]
        usages += [] if usage is None else [usage]
        whole = whole or members
    whole["choices"] = Raw(_encode(choices))
    if usages:
        whole["usage"] = Raw(_encode(usage_payload(summed(usages))))
    return _encode(whole)


def summed(usages: Sequence[Usage]) -> Usage:
    """The sum of all counts."""
    counts = zip(*map(astuple, usages), strict=True)
    return Usage(*[sum(each) if isinstance(each[0], int) else each[0] for each in counts])
