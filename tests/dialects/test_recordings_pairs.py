"""Recorded exchanges with real providers, in the words of every other dialect: what was said is said, whole and
streamed, by the book of the client's dialect.

An ordinary run takes a sample; POSTHOUSE_ALL_RECORDINGS=1 takes all. The excerpt in the repository is always taken.
"""

import json
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final

import pytest
from msgspec.structs import replace

from posthouse.core.requests import TEXTS, Operation
from posthouse.core.usage import Usage
from posthouse.dialects.codec import ReplyHead
from posthouse.dialects.codecs import codec_of
from posthouse.dialects.inner import collected, events_of
from posthouse.dialects.streams import Translating
from tests.dialects.inner import MAKER
from tests.dialects.keeping import holds_the_conversation, keeps_what_both_can_say, sent
from tests.dialects.meant import Meaning, Tokens, approve, meant_by, recorded
from tests.dialects.natives import kept
from tests.dialects.pairs import ADDRESSED
from tests.dialects.recordings import everything, excerpt, rendered
from tests.dialects.told import judge

_EVERY: Final = 1 if os.environ.get("POSTHOUSE_ALL_RECORDINGS") == "1" else 5
# By what an answer calls itself: some that were recorded of /v1/completions are chunks of a chat.
_WIRES: Final[dict[str, Operation]] = {
    "chat.completion": "chat.completions",
    "chat.completion.chunk": "chat.completions",
    "text_completion": "completions",
}
HEAD: Final = ReplyHead("abc", "m", 1_700_000_000, include_usage=True)
ESTIMATE: Final = Tokens(5, 3)  # where the provider told nothing


def answers(recordings: Iterable[dict[str, Any]]) -> Iterator[tuple[Operation, dict[str, Any]]]:
    """What was answered, with the dialect of it."""
    for recording in recordings:
        response = recording["response"]
        if response and recording["endpoint"].endswith("/completions"):
            yield _WIRES[(response[0] if recording["streaming"] else response)["object"]], recording


def _streamed(wire: Operation, client: Operation, data: bytes, size: int) -> tuple[bytes, Usage | None]:
    """The provider's bytes, in pieces of this size, as the client gets them; and the usage that was told."""
    stream = Translating(codec_of(wire).decoder(MAKER), codec_of(client), HEAD, frozenset())
    out = [stream.feed(data[start : start + size]) for start in range(0, len(data), size)]
    out.append(stream.finish())
    assert stream.done and stream.error is None
    out.append(stream.end(stream.usage or ESTIMATE.usage, estimated=stream.usage is None))
    return b"".join(out), stream.usage


def _check_stream(wire: Operation, client: Operation, data: bytes, size: int, meaning: Meaning) -> None:
    out, usage = _streamed(wire, client, data, size)
    assert (usage is None) == (meaning.tokens is None)
    judge(client, out)
    expected = meaning if meaning.tokens is not None else meaning._replace(tokens=ESTIMATE)
    assert meant_by(client, kept(client, out)) == expected.in_words_of(client)


def _check_whole(wire: Operation, client: Operation, body: bytes, meaning: Meaning) -> None:
    """For a client that asked for the whole, and for one that asked for a stream."""
    assert meaning.tokens is not None
    expected = meaning.in_words_of(client)
    answer = codec_of(wire).decode_response(body, MAKER)
    whole = codec_of(client).encode_response(answer, HEAD)
    approve(client, whole)
    assert meant_by(client, json.loads(whole)) == expected
    stream = Translating(codec_of(wire).decoder(MAKER), codec_of(client), HEAD, frozenset())
    out = stream.replay(list(events_of(answer))) + stream.end(meaning.tokens.usage, estimated=False)
    judge(client, out)
    assert meant_by(client, kept(client, out)) == expected


def _check_gathered(wire: Operation, client: Operation, data: bytes, meaning: Meaning) -> None:
    """A stream for a client that asked for the whole."""
    gathered = collected(data, codec_of(wire).decoder(MAKER))
    assert gathered.error is None
    answer = gathered.response
    assert (answer.usage is None) == (meaning.tokens is None)
    whole = codec_of(client).encode_response(replace(answer, usage=answer.usage or ESTIMATE.usage), HEAD)
    approve(client, whole)
    expected = meaning if meaning.tokens is not None else meaning._replace(tokens=ESTIMATE)
    assert meant_by(client, json.loads(whole)) == expected.in_words_of(client)


def _check(recordings: Iterable[dict[str, Any]]) -> tuple[int, int]:
    """How many streams and whole answers there were."""
    streams = wholes = 0
    for number, (wire, recording) in enumerate(answers(recordings)):
        response = recording["response"]
        meaning = recorded(response)
        for client in TEXTS:
            if client == wire:
                continue
            if recording["streaming"]:
                data = rendered(response)
                _check_stream(wire, client, data, 97 + 409 * (number % 9), meaning)
                _check_gathered(wire, client, data, meaning)
            else:
                _check_whole(wire, client, json.dumps(response).encode(), meaning)
        streams += recording["streaming"]
        wholes += not recording["streaming"]
    return streams, wholes


@pytest.mark.req("XLATE-011", "XLATE-012")
def test_the_excerpt_says_the_same_in_every_dialect() -> None:
    streams, wholes = _check(excerpt())
    assert streams >= 6
    assert wholes >= 3


@pytest.mark.req("XLATE-011", "XLATE-012")
def test_what_real_providers_said_is_said_in_every_dialect() -> None:
    streams, wholes = _check(islice(everything(), 0, None, _EVERY))
    assert streams > 800 // _EVERY - 20
    assert wholes > 800 // _EVERY - 20


# --- requests ----------------------------------------------------
def _asked(recordings: Iterable[dict[str, Any]]) -> int:
    """How many requests, of those that were answered, were told to a provider of every dialect."""
    count = 0
    for client, recording in answers(recordings):
        count += 1
        request = codec_of(client).decode_request(json.dumps(recording["request"]).encode(), ADDRESSED)
        for provider in TEXTS:
            encoded = sent(request, provider)
            assert encoded is not None
            if provider == "completions" and request.sampling.max_output == 0:  # what no client of it may say
                assert json.loads(encoded.body)["max_tokens"] == 0
                continue
            keeps_what_both_can_say(client, provider, request, encoded)
            holds_the_conversation(client, provider, request, encoded)
    return count


@pytest.mark.req("XLATE-013", "XLATE-014")
def test_the_excerpt_asks_the_same_in_every_dialect() -> None:
    assert _asked(excerpt()) >= 9


@pytest.mark.req("XLATE-013", "XLATE-014")
def test_what_real_clients_asked_is_asked_in_every_dialect() -> None:
    assert _asked(islice(everything(), 0, None, _EVERY)) > 1_600 // _EVERY - 40
