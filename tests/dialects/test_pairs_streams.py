"""Any dialect in, any dialect out: answers say the same on both sides, whole and streamed, wherever they are cut."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.core.events import (
    Event,
    Finished,
    ReasoningDelta,
    ReasoningState,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
)
from posthouse.core.items import InnerResponse, OpaqueState
from posthouse.core.requests import TEXTS, Operation
from posthouse.core.usage import Usage
from posthouse.dialects.codec import Maker
from posthouse.dialects.codecs import codec_of
from posthouse.dialects.custom import turned_back
from posthouse.dialects.inner import collected, events_of
from posthouse.dialects.streams import Translating
from tests.dialects.inner import HEAD, MAKER, answers, streams, usages
from tests.dialects.pairs import EXAMPLES, PAIRS
from tests.dialects.told import ASKED, customs_in, decoded, encoded, judge, loosely, renamed, through, told

CLIENT = Maker("", "", "")
every_pair = pytest.mark.parametrize(("client", "provider"), PAIRS)


def translated(provider: Operation, client: Operation, pieces: list[bytes], customs: frozenset[str]) -> bytes:
    """A provider's stream, in these pieces, as the client gets it."""
    stream = Translating(codec_of(provider).decoder(MAKER), codec_of(client), ASKED, customs)
    out = [stream.feed(piece) for piece in pieces]
    out.append(stream.finish())
    assert stream.error is None and stream.finish_reason is not None and stream.usage is not None
    out.append(stream.end(stream.usage, estimated=False))
    assert stream.finish() == b""
    return b"".join(out)


def cut(data: bytes, places: set[int]) -> list[bytes]:
    edges = [0, *sorted(place % len(data) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


@pytest.mark.req("XLATE-011")
@every_pair
@settings(max_examples=EXAMPLES)
@given(streams(frozenset({"usage"})).map(renamed), usages(), st.sets(st.integers(0, 10**6), max_size=6))
def test_a_stream_says_the_same_wherever_it_was_cut(
    client: Operation, provider: Operation, events: list[Event], usage: Usage, places: set[int]
) -> None:
    sent = encoded(codec_of(provider), events, usage)
    out = translated(provider, client, cut(sent, places), customs_in(events, provider))
    judge(client, out)
    again = told(decoded(codec_of(client), out, CLIENT))
    expected = through(through(told(events), provider, customs=True), client)
    assert again._replace(usage=None) == expected
    assert again.usage == usage


_GOLDEN: list[Event] = [
    Started(),
    ReasoningDelta("Das w\u00e4re \U0001f914"),
    ReasoningState(OpaqueState("house", "m", "main", b"\xff\x00")),
    TextDelta("\u676d\u5dde\r\n\n: x"),
    TextDelta("data: \u2028"),
    ToolCallStarted("call_1", "look"),
    ToolCallDelta('{"a": "\u00e9'),
    ToolCallDelta('\\n"}'),
    Finished("tool_calls"),
]


@pytest.mark.req("XLATE-011")
@pytest.mark.parametrize(("provider", "client"), list(zip(TEXTS, TEXTS[1:] + TEXTS[:1], strict=True)))
def test_no_byte_is_a_bad_place_to_cut(provider: Operation, client: Operation) -> None:
    usage = Usage(input=5, output=3)
    sent = encoded(codec_of(provider), _GOLDEN, usage)
    whole = translated(provider, client, [sent], frozenset())
    for place in range(1, len(sent)):
        assert translated(provider, client, [sent[:place], sent[place:]], frozenset()) == whole, sent[:place][-40:]
    assert translated(provider, client, [sent[place : place + 1] for place in range(len(sent))], frozenset()) == whole


# --- whole answers -----------------------------------------------
def _received(body: bytes, client: Operation) -> InnerResponse:
    return codec_of(client).decode_response(body, CLIENT)


@pytest.mark.req("XLATE-012")
@every_pair
@settings(max_examples=EXAMPLES)
@given(answers(frozenset({"usage"})), usages())
def test_an_answer_says_the_same_whole_and_streamed(
    client: Operation, provider: Operation, answer: InnerResponse, usage: Usage
) -> None:
    events = renamed(list(events_of(answer)))
    sent = encoded(codec_of(provider), events, usage)
    customs = customs_in(events, provider)
    expected = loosely(through(through(told(events), provider, customs=True), client)._replace(usage=usage))
    codec = codec_of(client)

    streamed = decoded(codec, translated(provider, client, [sent], customs), CLIENT)
    assert loosely(told(streamed)) == expected

    # A provider that streams unasked, and what is made of it.
    gathered = turned_back(collected(sent, codec_of(provider).decoder(MAKER)).response, customs)
    received = _received(codec.encode_response(gathered, HEAD), client)
    assert loosely(told(list(events_of(received)))) == expected

    # One that answers whole, and what is made of it for who asked for the whole, and for a stream.
    whole = codec_of(provider).encode_response(gathered, HEAD)
    again = turned_back(codec_of(provider).decode_response(whole, MAKER), customs)
    received = _received(codec.encode_response(again, HEAD), client)
    assert loosely(told(list(events_of(received)))) == expected
    stream = Translating(codec_of(provider).decoder(MAKER), codec, ASKED, customs)
    out = stream.replay(list(events_of(again))) + stream.end(usage, estimated=False)
    judge(client, out)
    assert loosely(told(decoded(codec, out, CLIENT))) == expected
