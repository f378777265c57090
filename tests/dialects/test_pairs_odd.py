"""Whatever a provider answers: it is told, or it is no answer of its dialect; never another error, for any pair."""

import json
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.core.errors import UpstreamFailure
from posthouse.core.requests import TEXTS, Operation
from posthouse.core.usage import Usage
from posthouse.dialects.codecs import codec_of
from posthouse.dialects.errors import DialectError
from posthouse.dialects.inner import collected
from posthouse.dialects.sse import data_of, split_events
from posthouse.dialects.streams import Passing, Translating
from tests.dialects.inner import HEAD, MAKER
from tests.dialects.natives import STREAMS, WHOLE
from tests.dialects.pairs import EXAMPLES
from tests.dialects.told import ASKED
from tests.e2e.odd_bodies import mutated

_WHOLE: Final[dict[Operation, Any]] = {
    **{wire: json.loads(body) for wire, body in WHOLE.items()},
    "completions": {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "text": "One", "finish_reason": "stop", "logprobs": None}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8},
    },
}
_CHUNKS: Final[list[dict[str, Any]]] = [{"usage": None}, {"choices": []}]
_EVENTS: Final[dict[Operation, list[bytes]]] = {
    **{wire: list(split_events(stream)) for wire, stream in STREAMS.items()},
    "completions": [
        *(b"data: " + json.dumps({**_WHOLE["completions"], **more}).encode() + b"\n\n" for more in _CHUNKS),
        b"data: [DONE]\n\n",
    ],
}
FAILURE: Final = UpstreamFailure("server", "It broke.")


@pytest.mark.req("XLATE-017")
@pytest.mark.parametrize("provider", TEXTS)
@settings(max_examples=2 * EXAMPLES)
@given(data=st.data())
def test_a_whole_answer_with_something_wrong_is_told_or_is_none(provider: Operation, data: st.DataObject) -> None:
    body = data.draw(mutated(_WHOLE[provider]))
    codec = codec_of(provider)
    try:
        codec.read_whole(body)
    except DialectError:
        pass
    try:
        answer = codec.decode_response(body, MAKER)
    except DialectError:
        return
    for client in TEXTS:
        json.loads(codec_of(client).encode_response(answer, HEAD))


@pytest.mark.req("XLATE-017")
@pytest.mark.parametrize("provider", TEXTS)
@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_a_stream_with_something_wrong_is_told_or_breaks_off(provider: Operation, data: st.DataObject) -> None:
    events = list(_EVENTS[provider])
    for _ in range(data.draw(st.integers(1, 2))):
        place = data.draw(st.integers(0, len(events) - 1))
        match data.draw(st.integers(0, 3)):
            case 0:
                del events[place : place + 1]
            case 1:
                events.insert(data.draw(st.integers(0, len(events))), events[place])
            case _:
                lead, _, told = data.draw(st.sampled_from(_EVENTS[provider])).partition(b"data: ")
                if b"[DONE]" not in told:
                    odd = data.draw(mutated(json.loads(told))).replace(b"\n", b"")
                    events[place] = lead + b"data: " + odd + b"\n\n"
        if not events:
            return
    sent = b"".join(events)
    for client in TEXTS:
        if client == provider:
            _follow(Passing(codec_of(provider), MAKER, ASKED), sent)
        _follow(Translating(codec_of(provider).decoder(MAKER), codec_of(client), ASKED, frozenset()), sent)
    try:
        answer = collected(sent, codec_of(provider).decoder(MAKER)).response
    except DialectError:
        return
    for client in TEXTS:
        json.loads(codec_of(client).encode_response(answer, HEAD))


def _follow(stream: Passing | Translating, sent: bytes) -> None:
    """As the house does; what comes out can be read as JSON events, whatever went in."""
    try:
        stream.feed(sent)
        stream.finish()
    except DialectError:
        stream.fail(FAILURE)
        return
    if stream.error is not None or stream.finish_reason is None:
        stream.fail(FAILURE)
        return
    end = stream.end(stream.usage or Usage(), estimated=stream.usage is None)
    if isinstance(stream, Translating):
        for event in split_events(end):
            told = data_of(event)
            assert told == b"[DONE]" or json.loads(told or b"")
