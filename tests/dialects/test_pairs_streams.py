"""Any dialect in, any dialect out: answers say the same on both sides, whole and streamed, wherever they are cut."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.core.errors import UpstreamFailure
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
from posthouse.core.items import InnerResponse, MessageItem, OpaqueState
from posthouse.core.parts import TextPart
from posthouse.core.requests import TEXTS, Operation
from posthouse.core.usage import Usage
from posthouse.dialects.codec import Maker
from posthouse.dialects.codecs import codec_of
from posthouse.dialects.custom import turned_back
from posthouse.dialects.inner import collected, events_of
from posthouse.dialects.openai_chat_stream import ChatStream
from posthouse.dialects.streams import AnswerStream, Passing, Translating
from tests.dialects.inner import HEAD, MAKER, answers, streams, usages
from tests.dialects.natives import STREAMS
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


# As providers write them, not we. A blank line may be written in several ways, also by turns.
_PIECE: dict[str, Any] = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m"}
_PIECES: list[tuple[dict[str, Any], bytes]] = [
    ({"choices": [{"index": 0, "text": "Das w\u00e4re ", "finish_reason": None}]}, b"\n\n"),
    ({"choices": [{"index": 0, "text": "\U0001f914", "finish_reason": None}]}, b"\r\n\r\n"),
    ({"choices": [{"index": 0, "text": ".", "finish_reason": "stop"}]}, b"\n\n"),
    ({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}}, b"\n\n"),
]
_NATIVE: dict[Operation, bytes] = {
    **STREAMS,
    "completions": b"".join(b"data: " + json.dumps(_PIECE | more).encode() + end for more, end in _PIECES)
    + b"data: [DONE]\n\n",
}


@pytest.mark.req("XLATE-011")
@pytest.mark.parametrize(("client", "provider"), [pair for pair in PAIRS if pair[0] != pair[1]])
def test_what_a_provider_wrote_itself_may_be_cut_at_every_byte(client: Operation, provider: Operation) -> None:
    sent = _NATIVE[provider]
    whole = translated(provider, client, [sent], frozenset())
    judge(client, whole)
    for place in range(1, len(sent)):
        assert translated(provider, client, [sent[:place], sent[place:]], frozenset()) == whole, sent[:place][-40:]
    for written in (sent, sent.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")):
        assert translated(
            provider, client, [written[place : place + 1] for place in range(len(written))], frozenset()
        ) == (whole)


@pytest.mark.req("XLATE-011")
@pytest.mark.parametrize("wire", TEXTS)
def test_what_passes_may_be_cut_at_every_byte(wire: Operation) -> None:
    sent = _NATIVE[wire]
    for place in range(1, len(sent)):
        stream: AnswerStream = Passing(codec_of(wire), MAKER, ASKED)
        if wire == "chat.completions":
            stream = ChatStream(include_usage=True)
        out = stream.feed(sent[:place]) + stream.feed(sent[place:]) + stream.finish()
        assert (stream.error, stream.usage) == (None, Usage(input=5, output=3))
        assert out + stream.end(stream.usage or Usage(), estimated=False) == sent, sent[:place][-40:]


@pytest.mark.req("XLATE-004")
@pytest.mark.parametrize(("client", "provider"), [pair for pair in PAIRS if pair[0] != pair[1]])
def test_what_breaks_off_anywhere_ends_with_the_clients_error_and_with_nothing_that_was_not_said(
    client: Operation, provider: Operation
) -> None:
    sent, places = _NATIVE[provider], 0
    said = [one.text for one in decoded(codec_of(provider), sent, MAKER) if isinstance(one, TextDelta)]
    for place in range(0, len(sent), 13):
        stream = Translating(codec_of(provider).decoder(MAKER), codec_of(client), ASKED, frozenset())
        out = stream.feed(sent[:place]) + stream.finish()
        if stream.finish_reason is not None:
            continue
        places += 1
        broken = collected(
            out + stream.fail(UpstreamFailure("overloaded", "It is too much.")), codec_of(client).decoder(CLIENT)
        )
        assert broken.error is not None and "It is too much." in broken.error.message
        assert [choice.finish for choice in broken.response.choices] in ([], [None]), sent[:place][-40:]
        assert "".join(said).startswith(_text_of(broken.response))
    assert places > 10


def _text_of(answer: InnerResponse) -> str:
    items = [item for choice in answer.choices for item in choice.items if isinstance(item, MessageItem)]
    return "".join([part.text for item in items for part in item.parts if isinstance(part, TextPart)])


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
