"""Requests and streams of completions, made by hand, and a judge over the streams that are made of events."""

import json
from typing import Any, Final

from openai.types import Completion

from posthouse.core.items import InnerRequest
from posthouse.core.requests import ModelRequest
from posthouse.dialects.codec import Addressed
from posthouse.dialects.openai_completions import CODEC, decode_head
from posthouse.dialects.openai_completions_stream import CHOICE, STREAM, ChoiceState, StreamState
from posthouse.dialects.sse import data_of, split_events
from tests.dialects.inner import MAKER

NOWHERE: Final = Addressed("")


def body(**members: Any) -> bytes:
    return json.dumps({"model": "m", "prompt": "Once", **members}).encode()


def head(**members: Any) -> ModelRequest:
    return decode_head(body(**members))


def decode(**members: Any) -> InnerRequest:
    return CODEC.decode_request(body(**members), NOWHERE)


def encode(request: InnerRequest) -> Any:
    return json.loads(CODEC.encode_request(request, MAKER).body)


def dropped(request: InnerRequest) -> tuple[str, ...]:
    return CODEC.encode_request(request, MAKER).dropped


def payloads(stream: bytes) -> list[Any]:
    """The data of a stream that ends with its mark, which is taken off."""
    *data, done = [data_of(one) or b"" for one in split_events(stream)]
    assert done == b"[DONE]"
    return [json.loads(one) for one in data]


def parse(chunk: Any) -> Completion:
    """A chunk by the SDK's type, strictly, but for the reason that only the last of a choice has."""
    choices = [{**choice, "finish_reason": choice["finish_reason"] or "stop"} for choice in chunk["choices"]]
    return Completion.model_validate_json(json.dumps({**chunk, "choices": choices}), strict=True)


def follow(stream: bytes) -> tuple[StreamState, set[ChoiceState]]:
    """Walks a stream along the table of what may follow what; the states in which it and its choices end."""
    whole: StreamState = "choices"
    choices: dict[int, ChoiceState] = {}
    for one in split_events(stream):
        data = data_of(one)
        assert data is not None
        if data == b"[DONE]":
            whole = STREAM[whole]["done"]
            continue
        chunk = json.loads(data)
        if "error" in chunk:
            whole = STREAM[whole]["error"]
        elif not chunk["choices"]:
            assert chunk["usage"] is not None
            whole = STREAM[whole]["usage"]
        else:
            whole = STREAM[whole]["choice"]
            (choice,) = chunk["choices"]
            kind = "text" if choice["finish_reason"] is None else "finish"
            choices[choice["index"]] = CHOICE[choices.get(choice["index"], "open")][kind]
    return whole, set(choices.values())
