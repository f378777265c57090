import msgspec
import pytest

from posthouse.core.errors import UpstreamFailure
from posthouse.upstream.head import HeadWriter, authority
from posthouse.upstream.model import Origin, Timeouts, UpstreamRequest

ORIGIN = Origin("https", "api.example", 443)
REQUEST = UpstreamRequest(
    pool="p",
    origin=ORIGIN,
    method=b"POST",
    target=b"/v1/embeddings?a=b",
    headers=b"authorization: Bearer upstream-credential-1\r\ncontent-type: application/json\r\n",
    body=b"12345",
    timeouts=Timeouts(),
    proxy=None,
    deadline=0.0,
)


def test_a_head_holds_what_it_must_in_this_order() -> None:
    assert HeadWriter(ORIGIN).write(REQUEST) == (
        b"POST /v1/embeddings?a=b HTTP/1.1\r\n"
        b"host: api.example\r\n"
        b"accept-encoding: identity\r\n"
        b"authorization: Bearer upstream-credential-1\r\n"
        b"content-type: application/json\r\n"
        b"content-length: 5\r\n"
        b"\r\n"
    )


def test_a_head_is_written_anew_when_the_request_differs() -> None:
    writer = HeadWriter(ORIGIN)
    writer.write(REQUEST)
    other = msgspec.structs.replace(REQUEST, target=b"/other", body=b"1234567")
    assert writer.write(other).startswith(b"POST /other HTTP/1.1\r\n")
    assert writer.write(other).endswith(b"content-length: 7\r\n\r\n")
    assert writer.write(REQUEST).startswith(b"POST /v1/embeddings?a=b HTTP/1.1\r\n")


def test_a_post_without_body_says_so_and_a_get_does_not() -> None:
    writer = HeadWriter(ORIGIN)
    assert b"content-length: 0\r\n" in writer.write(msgspec.structs.replace(REQUEST, body=b""))
    get = writer.write(msgspec.structs.replace(REQUEST, body=b"", method=b"GET"))
    assert b"content-length" not in get
    assert get.endswith(b"content-type: application/json\r\n\r\n")


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (Origin("http", "localhost", 80), b"localhost"),
        (Origin("http", "localhost", 8080), b"localhost:8080"),
        (Origin("https", "localhost", 80), b"localhost:80"),
        (Origin("http", "::1", 11434), b"[::1]:11434"),
        (Origin("https", "::1", 443), b"[::1]"),
        (Origin("https", "bücher.example", 443), b"xn--bcher-kva.example"),
    ],
)
def test_the_host_header_leaves_out_the_default_port_only(origin: Origin, host: bytes) -> None:
    assert b"\r\nhost: %b\r\n" % host in HeadWriter(origin).write(REQUEST)


def test_an_authority_always_names_the_port() -> None:
    assert authority(Origin("https", "::1", 443)) == "[::1]:443"


@pytest.mark.parametrize(
    "change",
    [
        {"headers": b"authorization: Bearer upstream\ncredential\r\n"},
        {"headers": b"a: b\r\n\r\nPOST / HTTP/1.1\r\n"},
        {"headers": b"a: b"},
        {"headers": b"no colon\r\n"},
        {"headers": b"a: \x00\r\n"},
        {"target": b"/a b"},
        {"target": b"/a\r\nb: c"},
        {"target": b"http://elsewhere/"},
        {"method": b"GET / HTTP/1.1\r\nx:"},
    ],
)
def test_nothing_smuggles_a_line_into_the_head(change: dict[str, bytes]) -> None:
    fields = msgspec.structs.asdict(REQUEST) | change
    with pytest.raises(UpstreamFailure) as caught:
        HeadWriter(ORIGIN).write(UpstreamRequest(**fields))
    assert "credential" not in caught.value.message


def test_nothing_of_a_private_request_is_kept() -> None:
    writer = HeadWriter(ORIGIN)
    private = msgspec.structs.replace(REQUEST, headers=b"authorization: Bearer the-callers-own-1\r\n", private=True)
    assert b"Bearer the-callers-own-1\r\n" in writer.write(private)
    usual = writer.write(REQUEST)
    assert b"Bearer the-callers-own-1\r\n" in writer.write(private)
    assert writer.write(REQUEST) == usual
    kept = [getattr(writer, name) for name in HeadWriter.__slots__]
    assert not any(b"callers-own" in one for one in kept)


def test_a_request_does_not_print_its_credential() -> None:
    assert "credential" not in repr(REQUEST)
    assert "12345" not in repr(REQUEST)
