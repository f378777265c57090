"""The hot door of completions: a request body checked and read just as far as the spine needs.

A prompt is a string, an array of strings, tokens, or an array of arrays of tokens; each is answered `n` times. Without
one the model begins a document of its own.
"""

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Raw, Struct
from msgspec.json import Decoder

from posthouse.core.errors import InvalidRequest
from posthouse.core.requests import ModelRequest
from posthouse.dialects.fields import (
    BOOL,
    NUMBER,
    STRING,
    TEXT_OR_ARRAY,
    TOKENS,
    Check,
    Fields,
    check_fields,
    decode_fields,
    kind_of,
    model_of,
    wrong_type,
)
from posthouse.dialects.openai_sequence import MAX_CHOICES

DIALECT: Final = "openai_completions"
_CHOICES: Final[Check] = (Decoder(Annotated[int, Meta(ge=1, le=128)] | None), "an integer from 1 to 128")


class _StreamOptions(Struct, gc=False):
    include_usage: bool | None = None


_CHECKS: Final[dict[str, Check]] = {
    "stream": BOOL,
    "stream_options": (Decoder(_StreamOptions | None), "an object whose include_usage is a boolean"),
    "n": _CHOICES,
    # The published minimum is 0, which says nothing; the published maximum, 20, is not that of other servers.
    "best_of": (Decoder(Annotated[int, Meta(ge=0, le=128)] | None), "an integer from 0 to 128"),
    "max_tokens": TOKENS,
    "temperature": NUMBER,
    "top_p": NUMBER,
    "echo": BOOL,
    "suffix": STRING,
    "stop": TEXT_OR_ARRAY,
}
_Token = Annotated[int, Meta(ge=0)]
Prompt = str | list[str] | list[int] | list[list[int]]
_decode_text: Final = Decoder(str).decode
# A union of several kinds of arrays is more than one decoder can tell apart.
_ARRAYS: Final = (Decoder(list[str]), Decoder(list[_Token]), Decoder(list[list[_Token]]))


def decode_head(body: bytes) -> ModelRequest:
    """A request of which every member is kept as it came. InvalidRequest naming the member that does not fit.

    `choices` counts what is generated, and so paid for: for each prompt `best_of` answers, where that is more than `n`.
    """
    fields = decode_fields(body)
    model = model_of(fields)
    prompts = prompts_in(prompt_of(fields))
    get = check_fields(fields, _CHECKS).get
    choices: int = get("n") or 1
    best_of: int = get("best_of") or choices
    if best_of < choices:
        raise InvalidRequest(
            f"Invalid 'best_of': {best_of} are fewer than the {choices} asked for by 'n'.",
            param="best_of",
            code="invalid_value",
        )
    if prompts * best_of > MAX_CHOICES:
        raise InvalidRequest(
            f"Invalid 'prompt': {prompts} prompts with {best_of} answers each are more than {MAX_CHOICES} answers.",
            param="prompt",
            code="invalid_value",
        )
    options: _StreamOptions | None = get("stream_options")
    return ModelRequest(
        operation="completions",
        dialect=DIALECT,
        model=model,
        fields=fields,
        body_size=len(body),
        stream=get("stream") is True,
        include_usage=options is not None and options.include_usage is True,
        max_output=get("max_tokens"),
        choices=prompts * best_of,
    )


def prompt_of(fields: Fields) -> Prompt | None:
    """The prompt in any of its forms, None where there is none. InvalidRequest where it has another."""
    raw = fields.get("prompt")
    if raw is None or (kind := kind_of(raw)) == "null":
        return None
    if kind not in ("a string", "an array"):
        raise wrong_type("prompt", "a string or an array", raw)
    try:
        return _decode_text(raw) if kind == "a string" else _array(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise wrong_type("prompt", "a string or an array", raw) from None


def _array(raw: Raw) -> Any:
    for decoder in _ARRAYS:
        try:
            found = decoder.decode(raw)
        except (msgspec.DecodeError, UnicodeError):
            continue
        if not found or [] in found:
            raise InvalidRequest("Invalid 'prompt': an array is empty.", param="prompt", code="empty_array")
        return found
    raise InvalidRequest(
        "Invalid type for 'prompt': expected an array of strings, of tokens, or of arrays of tokens.",
        param="prompt",
        code="invalid_type",
    )


def prompts_in(prompt: Prompt | None) -> int:
    """How many there are: an array of tokens is one."""
    return len(prompt) if isinstance(prompt, list) and not isinstance(prompt[0], int) else 1
