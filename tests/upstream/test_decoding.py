import gzip
import zlib

import pytest

from posthouse.upstream.decoding import Inflater

TEXT = b"".join(b"line %d of a text that repeats itself\n" % number for number in range(2000))


def bare_deflate(data: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflate.compress(data) + deflate.flush()


ENCODED = {
    "gzip": (b"gzip", gzip.compress(TEXT)),
    "gzip of two members": (b"x-gzip", gzip.compress(TEXT[:1000]) + gzip.compress(TEXT[1000:])),
    "deflate": (b"deflate", zlib.compress(TEXT)),
    "bare deflate": (b"deflate", bare_deflate(TEXT)),
}


def unfold(inflater: Inflater, data: bytes) -> bytes:
    inflater.feed(data)
    pieces = []
    while piece := inflater.take():
        pieces.append(piece)
    return b"".join(pieces)


@pytest.mark.parametrize("name", ENCODED)
@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_every_coding_is_decoded_however_it_is_cut(name: str, step: int) -> None:
    coding, data = ENCODED[name]
    inflater = Inflater(coding)
    assert b"".join(unfold(inflater, data[at : at + step]) for at in range(0, len(data), step)) == TEXT
    assert inflater.whole


@pytest.mark.parametrize("name", ENCODED)
def test_a_body_that_is_cut_short_is_not_whole(name: str) -> None:
    coding, data = ENCODED[name]
    inflater = Inflater(coding)
    unfold(inflater, data[:-1])
    assert not inflater.whole


def test_an_empty_body_is_whole() -> None:
    inflater = Inflater(b"gzip")
    assert inflater.take() == b""
    assert inflater.whole


def test_a_bomb_unfolds_in_bounded_steps() -> None:
    size = 50 * 1024 * 1024
    inflater = Inflater(b"gzip")
    inflater.feed(gzip.compress(bytes(size)))
    seen = 0
    while piece := inflater.take():
        assert len(piece) <= 256 * 1024
        seen += len(piece)
    assert seen == size
    assert inflater.whole


def test_what_is_flushed_can_be_read_at_once() -> None:
    deflate = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    inflater = Inflater(b"gzip")
    for number in range(5):
        event = b"data: %d\n\n" % number
        assert unfold(inflater, deflate.compress(event) + deflate.flush(zlib.Z_SYNC_FLUSH)) == event


@pytest.mark.parametrize(
    ("coding", "data"),
    [
        (b"gzip", b"not gzip at all"),
        (b"deflate", zlib.compress(TEXT) + b"more"),
        (b"gzip", gzip.compress(TEXT) + b"xx"),
    ],
)
def test_bytes_that_make_no_sense_are_an_error(coding: bytes, data: bytes) -> None:
    with pytest.raises(zlib.error):
        unfold(Inflater(coding), data)
