"""The rest of a vendor's interface, as it is: a client's request below the address of one of our accounts.

The client says a method, a path, a query, some headers and a body; never a host. Host, credential and whatever the
operator has set are the account's. What is strange in a path is refused rather than put right, since two readers may
put it right in two ways.

Above: `gateway.raw`. Below: `prepare` (address, credential), `upstream` (the socket).
"""

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Final
from urllib.parse import parse_qsl, unquote, unquote_to_bytes

from msgspec import Struct

from posthouse.core.errors import InvalidRequest, NotFound
from posthouse.core.requests import TEXTS, Operation
from posthouse.dialects.fields import MAX_MODEL_NAME
from posthouse.providers.model import PATHS, ProviderAccount
from posthouse.providers.prepare import address_below, header_block
from posthouse.upstream.model import BodyStream, UpstreamRequest

# What passes of a request's head, and the versions and betas of whichever vendor it is. Everything else is between the
# client and us, or is the account's.
_ASKED: Final = frozenset(
    {
        b"accept",
        b"accept-language",
        b"content-disposition",
        b"content-range",
        b"content-type",
        b"idempotency-key",
        b"if-match",
        b"if-modified-since",
        b"if-none-match",
        b"if-range",
        b"if-unmodified-since",
        b"prefer",
        b"range",
        b"x-client-request-id",
    }
)
_EDITION: Final = re.compile(rb"[a-z]{2,20}-(?:beta|version)")
# What passes of an answer's head: no address, no cookie, no account, and no limits but ours.
_ANSWERED: Final = frozenset(
    {
        b"accept-ranges",
        b"age",
        b"cache-control",
        b"content-disposition",
        b"content-language",
        b"content-range",
        b"content-type",
        b"etag",
        b"expires",
        b"last-modified",
        b"retry-after",
        b"retry-after-ms",
        b"x-should-retry",
    }
)
_LONGEST: Final = 4096  # of a value in an answer's head
_LONGEST_PATH: Final = 2048
# The names under which vendors take a credential in a query.
_CREDENTIALS: Final = frozenset({"key", "api_key", "api-key", "apikey", "access_token"})
_PATH: Final = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@%/-]*")
_QUERY: Final = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=:@%/?\[\]|{}^`\"<>\\-]*")
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_TURNS: Final = 3  # a server may decode a path, and what stands behind it may again
# Addresses that name the model, and the endpoints whose price is known by it.
_NAMED: Final = re.compile(r"(?:^|/)(?:models|deployments|engines)/([^/:]{1,400})[:/]")
_GENERATES: Final = (":generatecontent", ":streamgeneratecontent")
_ENDPOINTS: Final[Mapping[str, Operation]] = {
    PATHS[operation]: operation for operation in (*TEXTS, "embeddings") if operation != "generate_content"
}


class Parcel(Struct, eq=False):
    """A request on its way to `account`. `rest` is the path below its base URL, without the slash before it; `headers`
    are the client's, lower-case names. `body` is None where there is none."""

    method: bytes
    rest: str
    query: str
    headers: Mapping[bytes, bytes]
    body: BodyStream | None = None


def checked_rest(rest: str) -> str:
    """A path below a base URL, as the client wrote it. NotFound for what could lead out, or be read in two ways."""
    if len(rest) > _LONGEST_PATH or _PATH.fullmatch(rest) is None or _BAD_ESCAPE.search(rest):
        raise _no_path()
    decoded = rest
    for _ in range(_TURNS):
        decoded = unquote(decoded, "latin-1")
        if any(ord(sign) < 0x20 or ord(sign) == 0x7F for sign in decoded):
            raise _no_path()
        *inner, last = decoded.replace("\\", "/").split("/")
        if "" in inner or any(part.partition(";")[0] in (".", "..") for part in (*inner, last)):
            raise _no_path()
    return rest


def checked_query(query: bytes) -> str:
    """A query as the client wrote it. InvalidRequest for one that holds a credential: it would be ours, or a client's
    own in the place of the account's."""
    if _QUERY.fullmatch(query) is None or any(sign < 0x20 or sign == 0x7F for sign in unquote_to_bytes(query)):
        raise InvalidRequest("The query holds characters that must be percent-encoded.", code="invalid_http")
    text = query.decode("ascii")
    for name, _ in parse_qsl(text, keep_blank_values=True, encoding="latin-1"):
        if name.strip().lower() in _CREDENTIALS:
            raise InvalidRequest(
                f"The query holds {name[:40]!r}: the provider's credential is this gateway's, and yours belongs into "
                "the Authorization header.",
                param=name[:40],
                code="invalid_value",
            )
    return text


def endpoint_of(method: bytes, rest: str) -> Operation | None:
    """Which of the endpoints that are charged by the tokens of a model this is, however a server may read the path;
    None where it is none of them."""
    if method != b"POST":
        return None
    for _ in range(_TURNS):
        rest = unquote(rest, "latin-1")
    path = "/" + "/".join(part.partition(";")[0] for part in rest.split("/")).rstrip("/").lower()
    if path.endswith(_GENERATES):
        return "generate_content"
    return next((operation for end, operation in _ENDPOINTS.items() if path.endswith(end)), None)


def model_in(rest: str) -> str | None:
    """The model that a path names, such as `models/NAME:verb` or `deployments/NAME/verb`."""
    found = _NAMED.search(rest)
    name = "" if found is None else unquote(found[1])
    return name if 0 < len(name) <= MAX_MODEL_NAME else None


def request_below(account: ProviderAccount, parcel: Parcel, deadline: float) -> UpstreamRequest:
    """`deadline` is the loop's time at which everything must be over."""
    origin, target = address_below(account, f"{parcel.rest}?{parcel.query}" if parcel.query else parcel.rest)
    stream = parcel.body
    if stream is None and parcel.method in (b"POST", b"PUT", b"PATCH"):
        stream = BodyStream(_nothing(), 0)  # the length of nothing is said too, and it is never sent twice
    return UpstreamRequest(
        pool=account.name,
        origin=origin,
        method=parcel.method,
        target=target,
        headers=_headers(account, parcel.headers),
        body=b"",
        timeouts=account.timeouts,
        proxy=account.proxy,
        deadline=deadline,
        stream=stream,
        private=account.brought,
    )


def head_below(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Complete lines of what a client is shown of an answer's head, each name once."""
    shown = {
        name: value
        for name, value in headers
        if (name in _ANSWERED or _EDITION.fullmatch(name)) and len(value) <= _LONGEST
    }
    return b"".join(b"%b: %b\r\n" % line for line in shown.items())


def _headers(account: ProviderAccount, asked: Mapping[bytes, bytes]) -> bytes:
    """The account's own, and of the client's what passes. The client's version of an interface goes before the one that
    the row knows, and behind the operator's."""
    set_by_operator = {name.lower().encode("ascii") for name, _ in account.headers}
    passing = {
        name: value
        for name, value in asked.items()
        if (name in _ASKED or _EDITION.fullmatch(name)) and name not in set_by_operator
    }
    lines = [
        line
        for line in header_block(account).splitlines(keepends=True)
        if (name := line.partition(b":")[0]) not in passing and (name != b"content-type" or name in set_by_operator)
    ]
    return b"".join([*lines, *(b"%b: %b\r\n" % line for line in passing.items())])


async def _nothing() -> AsyncGenerator[bytes, None]:
    pieces: tuple[bytes, ...] = ()
    for piece in pieces:
        yield piece


def _no_path() -> NotFound:
    return NotFound("There is no such path below a provider's address.", code="unknown_url")
