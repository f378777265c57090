"""completions, whole requests: to and from the inner form.

A prompt becomes one message of the user's, as it stands and with no instructions beside it: a model that follows
instructions is asked plainly, and what it answers is the completion. `echo` is kept by whoever encodes the answer.
`suffix`, `logprobs`, `logit_bias` and `best_of` have no inner form; they stay in `extra`, unless they ask for nothing.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from posthouse.core.items import InnerRequest, MessageItem, Sampling
from posthouse.core.parts import TextPart
from posthouse.core.requests import ModelRequest
from posthouse.dialects.codec import Addressed, Encoded, Maker
from posthouse.dialects.fields import Fields, kind_of, missing
from posthouse.dialects.openai_chat_parts import Dropped, Json, invalid
from posthouse.dialects.openai_completions_head import DIALECT, decode_head, prompt_of
from posthouse.dialects.openai_completions_prompt import STOP, is_plain, prompt_for
from posthouse.dialects.openai_members import asking, stops_in, take, value_of, with_address

DEFAULT_OUTPUT: Final = 16  # tokens; the API's own, where the client gives no number
# Where a client of another dialect gives none, which there means: as much as it takes. Models of this dialect refuse
# more than their context has room for, and the smallest has 4,096 tokens.
ROOM: Final = 1024
MAX_STOPS: Final = 4
MAX_PROMPTS: Final = 128  # that are asked one by one; what the API itself allows at once
MAX_SPLIT: Final = 64 << 20  # bytes of all bodies that one request is split into
_NAMED: Final = frozenset(
    {"model", "prompt", "stream", "max_tokens", "temperature", "top_p", "n", "stop", "echo", "stream_options"}
)
# Values that ask for nothing.
_IDLE: Final[Mapping[str, tuple[bytes, ...]]] = {
    "suffix": (b'""',),
    "logit_bias": (b"{}",),
    "logprobs": (b"false",),
    "best_of": (b"0", b"1"),
}
_encode = msgspec.json.Encoder().encode


def decode_request(body: bytes, addressed: Addressed) -> InnerRequest:
    """Of one prompt that is text: see `split`. InvalidRequest naming the member that does not fit."""
    head = decode_head(with_address(body, addressed))
    fields = head.fields
    choices: int | None = value_of(fields, "n")
    extra = asking(fields, _NAMED, _IDLE)
    if "best_of" in extra and value_of(extra, "best_of") == choices:
        del extra["best_of"]
    if head.max_output == 0:
        raise invalid("max_tokens", "a model that is asked in messages writes at least one token")
    penalties = {name: take(extra, name, float) for name in ("presence_penalty", "frequency_penalty")}
    return InnerRequest(
        dialect=DIALECT,
        model=head.model,
        items=(MessageItem("user", (TextPart(_only_text(fields)),)),),
        user=take(extra, "user", str),
        sampling=Sampling(
            max_output=DEFAULT_OUTPUT if head.max_output is None else head.max_output,
            temperature=value_of(fields, "temperature"),
            top_p=value_of(fields, "top_p"),
            stop=stops_in(fields),
            choices=choices,
            seed=take(extra, "seed", int),
            presence_penalty=penalties["presence_penalty"],
            frequency_penalty=penalties["frequency_penalty"],
        ),
        stream=head.stream,
        include_usage=head.include_usage,
        extra=extra,
        echo=value_of(fields, "echo") is True,
    )


def _only_text(fields: Fields) -> str:
    prompt: Any = prompt_of(fields)
    match prompt:
        case None:
            raise missing("prompt")
        case str():
            text = prompt
        case [str(text)]:
            pass
        case [str(), *_]:
            raise invalid("prompt", "this model takes one prompt at a time")
        case _:
            raise invalid("prompt", "this model takes text, not tokens")
    if not text:
        raise invalid("prompt", "this model needs something to answer")
    return text


def encode_request(request: InnerRequest, maker: Maker) -> Encoded:
    """A body for a model that only goes on writing, and what it cannot be told."""
    dropped: Dropped = {}
    own = request.dialect == DIALECT
    sampling = request.sampling
    body: Json = {
        "model": request.model,
        "prompt": prompt_for(request.items, dropped),
        "max_tokens": ROOM if sampling.max_output is None and not own else sampling.max_output,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "n": sampling.choices,
        "stop": list(_stops(request, dropped)) or None,
        "seed": sampling.seed,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "user": request.user,
        "stream": request.stream or None,
        # Whoever translates a stream counts what it costs.
        "stream_options": {"include_usage": True} if request.include_usage or (request.stream and not own) else None,
    }
    body = {name: value for name, value in body.items() if value is not None}
    _drop(request, dropped)
    for name, raw in request.extra.items():
        if own:
            body[name] = raw
        elif kind_of(raw) != "null":
            dropped[name] = None
    return Encoded(_encode(body), tuple(dropped))


def _stops(request: InnerRequest, dropped: Dropped) -> tuple[str, ...]:
    stop = request.sampling.stop
    if request.dialect == DIALECT:
        return stop
    if len(stop) > MAX_STOPS:
        dropped["stop"] = None
    if not is_plain(request.items) and len(stop) < MAX_STOPS and STOP not in stop:
        stop = (*stop, STOP)
    return stop[:MAX_STOPS]


def _drop(request: InnerRequest, dropped: Dropped) -> None:
    choice = request.tool_choice
    form = request.output_format
    lost = {
        "tools": bool(request.tools),
        "tool_choice": choice is not None and choice.mode in ("required", "named"),
        "output_format": form is not None and form.kind != "text",
        "effort": request.thinking.effort not in (None, "none"),
        "thinking_budget": bool(request.thinking.budget),
        "verbosity": request.verbosity is not None,
        "top_k": request.sampling.top_k is not None,
    }
    dropped.update({name: None for name, value in lost.items() if value})


def split(request: ModelRequest) -> tuple[bytes, ...]:
    """The bodies of requests with one prompt each, in the order of the prompts; their answers are put together again by
    `join`. InvalidRequest where the prompt makes no sense, or there is too much to ask one by one."""
    prompt = prompt_of(request.fields)
    if not isinstance(prompt, list) or isinstance(prompt[0], int):
        return (_encode(request.fields),)
    rest = sum(len(memoryview(raw)) for name, raw in request.fields.items() if name != "prompt")
    if len(prompt) > MAX_PROMPTS or rest * len(prompt) > MAX_SPLIT:
        raise invalid("prompt", "too many prompts for a model that takes one at a time")
    return tuple(_encode({**request.fields, "prompt": one}) for one in prompt)
