"""From a deployment and a request to the bytes that go to the provider.

All that does not depend on the request is computed once, in `prepare`; `body_for` runs on the hot path: a copy of the
dict of raw members, the replacements that the row asks for, one encode. Nested values are never decoded, except
`stream_options`, and what a row's own `prepare` quirk decodes.
"""

import re
from posixpath import normpath
from typing import Final
from urllib.parse import SplitResult, urlsplit

import msgspec
from msgspec import Struct

from posthouse import __version__
from posthouse.core.errors import ConfigError, InvalidRequest, NotFound
from posthouse.core.requests import MEDIA, TEXTS, ModelRequest, Operation, Upload
from posthouse.dialects.codec import Codec, Maker
from posthouse.dialects.codecs import HEADERS, OWN, Own, codec_of
from posthouse.dialects.custom import WIRES as CUSTOM_WIRES
from posthouse.providers.model import Deployment, Detour, Endpoint, Fields, Provider, ProviderAccount
from posthouse.upstream.model import BodyStream, Origin, UpstreamRequest

_encode: Final = msgspec.json.Encoder().encode
_decode_options: Final = msgspec.json.Decoder(dict[str, msgspec.Raw] | None).decode
# What nearly every client writes into `stream_options`; anything else is decoded, at 2 us.
_USUAL_OPTIONS: Final = frozenset({b"null", b"{}", b'{"include_usage":true}', b'{"include_usage": true}'})
_TRUE: Final = msgspec.Raw(b"true")
_FALSE: Final = msgspec.Raw(b"false")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_VERSION: Final = re.compile(r"v[0-9]{1,2}((alpha|beta)[0-9]{0,2})?")


class Way(Struct, frozen=True, eq=False):
    """Between the client's dialect and the provider's. They are one object where the bytes pass. `wraps`: the provider
    does not take custom tools, nor the role developer, though its dialect has them."""

    client: Codec
    provider: Codec
    maker: Maker
    wraps: bool = False

    @property
    def passes(self) -> bool:
        return self.client is self.provider


class Prepared(Struct, frozen=True, eq=False, kw_only=True):
    """What every request of one operation to one deployment has in common. Made by `prepare`, kept by the caller.

    `wire` is how the provider is asked. `headers` are raw lines without host, content-length and connection. `model` is
    the JSON string that replaces the member `model`, None where the wire has none; `stream_options` the member to set
    on a stream that has none, None where the row asks for none. `way` is None where chat completions, embeddings or
    media pass; `detour` is what must go another way; `own` takes back sealed state, where there can be any.
    """

    deployment: Deployment
    operation: Operation
    wire: Operation
    origin: Origin
    target: bytes
    stream_target: bytes
    headers: bytes
    model: msgspec.Raw | None
    stream_options: msgspec.Raw | None
    plain: bool  # the row has no rename, drop or prepare: the usual case, and the shortest way through body_for
    direct: bool  # chat completions or embeddings, neither `way` nor `detour`: the shortest way through call
    way: Way | None = None
    detour: "tuple[Detour, Prepared] | None" = None
    own: tuple[Own, Maker] | None = None

    def around(self, request: ModelRequest) -> "Prepared":
        """What serves this request: itself, or the detour."""
        if self.detour is not None and self.detour[0].when(request):
            return self.detour[1]
        return self

    def __repr__(self) -> str:
        # The generated one would print the credential in `headers` into whatever log meets it.
        return f"Prepared({self.deployment.id!r}, {self.operation!r})"


def prepare(deployment: Deployment, operation: Operation, *, sealing: bool = True) -> Prepared:
    """By the wire of the operation itself, else by the first that the provider speaks. Raises NotFound where there is
    none, ConfigError where the account's settings cannot stand. `sealing`: this house translates, so that a request may
    hold state that it sealed; where none is translated nobody looks for it."""
    wire = operation
    if operation in TEXTS:
        wires = wires_of(deployment.account)
        if not wires:
            raise _lacks(deployment.account, operation)
        wire = operation if operation in wires else wires[0]
    straight = _prepared(deployment, operation, wire)
    if sealing and wire == operation and wire in OWN:
        straight = msgspec.structs.replace(straight, own=(OWN[wire], _maker(deployment)))
    ask, known = deployment.account.row.detour, deployment.known_as
    detour = None if ask is None or known is None else ask(wire, known)
    if detour is None or wire != operation or detour.wire not in wires_of(deployment.account):
        return straight
    around = _prepared(deployment, operation, detour.wire)
    return msgspec.structs.replace(straight, direct=False, detour=(detour, around))


def wires_of(account: ProviderAccount) -> tuple[Operation, ...]:
    """The text operations that are spoken at an account's address, the first preferred."""
    row = account.row
    if account.wires is not None:
        wires = account.wires
    elif row.base_url is None or row.free or "chat.completions" not in row.wires or _at_home(account):
        wires = row.wires
    else:
        wires = ("chat.completions",)
    return tuple(wire for wire in wires if _url(account, wire, "m", stream=False) is not None)


def _takes_customs(account: ProviderAccount, wire: Operation) -> bool:
    """Of a compatible server elsewhere it is not believed, unless the operator says what is spoken there."""
    row = account.row
    return wire in row.customs and (row.base_url is None or account.wires is not None or _at_home(account))


def _at_home(account: ProviderAccount) -> bool:
    host = (_host(account.base_url) or "").lower()
    sites = (_host(account.row.base_url or ""), *account.row.sites)
    return any(site is not None and (host == site or host.endswith("." + site)) for site in sites)


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _prepared(deployment: Deployment, operation: Operation, wire: Operation) -> Prepared:
    account, row = deployment.account, deployment.account.row
    origin, target = address(account, wire, deployment.upstream_model)
    way = None
    if operation in TEXTS and not operation == wire == "chat.completions":
        wraps = wire in CUSTOM_WIRES and not _takes_customs(account, wire)
        way = Way(codec_of(operation), codec_of(wire), _maker(deployment), wraps)
    return Prepared(
        deployment=deployment,
        operation=operation,
        wire=wire,
        origin=origin,
        target=target,
        # Half of the work is the address, and a catalog has thousands.
        stream_target=target if wire in MEDIA else address(account, wire, deployment.upstream_model, stream=True)[1],
        headers=header_block(account, HEADERS.get(wire, ())),
        model=None if wire == "generate_content" else msgspec.Raw(_encode(deployment.upstream_model)),
        stream_options=_stream_options(row) if wire in ("chat.completions", "completions") else None,
        plain=_is_plain(row, wire),
        direct=way is None and operation not in MEDIA,
        way=way,
    )


def _is_plain(row: Provider, wire: Operation) -> bool:
    if wire == "embeddings":
        return not row.rename and not row.drop and row.prepare is None and row.vectors is None
    if wire in MEDIA:
        return wire not in row.reshape
    return wire != "chat.completions" or (not row.rename and not row.drop and row.prepare is None)


def _maker(deployment: Deployment) -> Maker:
    account = deployment.account
    return Maker(account.row.name, deployment.upstream_model, account.name)


def body_for(prepared: Prepared, request: ModelRequest) -> bytes:
    """The body to send. Key order and unknown members are kept; `request.fields` is not changed."""
    fields = request.fields.copy()
    if prepared.model is not None:
        fields["model"] = prepared.model
    if prepared.own is not None:
        take_back, maker = prepared.own
        take_back(fields, maker)
    if request.stream and prepared.stream_options is not None:
        _ask_for_usage(fields, prepared.stream_options)
    if request.steering and prepared.deployment.account.row.vectors is None:
        fields = {name: value for name, value in fields.items() if name not in request.steering}
    if not prepared.plain:
        row = prepared.deployment.account.row
        if prepared.wire == "embeddings" and row.vectors is not None:
            return row.vectors.encode(fields, prepared.deployment.upstream_model)
        reshape = row.reshape.get(prepared.wire)
        fields = _apply_quirks(row, fields, request) if reshape is None else reshape(fields, request)
    return _encode(fields)


def request_for(prepared: Prepared, request: ModelRequest, deadline: float) -> UpstreamRequest:
    """The whole request. `deadline` is the loop's time at which everything must be over."""
    account = prepared.deployment.account
    if request.upload is not None:
        return _upload_for(prepared, request, request.upload, deadline)
    return UpstreamRequest(
        pool=prepared.deployment.id,
        origin=prepared.origin,
        method=b"POST",
        target=prepared.stream_target if request.stream else prepared.target,
        headers=prepared.headers if not request.headers else _with_headers(prepared.headers, request.headers),
        body=body_for(prepared, request),
        timeouts=account.timeouts,
        proxy=account.proxy,
        deadline=deadline,
        private=account.brought,
    )


def _upload_for(prepared: Prepared, request: ModelRequest, upload: Upload, deadline: float) -> UpstreamRequest:
    account, model = prepared.deployment.account, prepared.deployment.upstream_model
    return UpstreamRequest(
        pool=prepared.deployment.id,
        origin=prepared.origin,
        method=b"POST",
        target=prepared.target,
        headers=_with_headers(prepared.headers, ((b"content-type", upload.content_type), *request.headers)),
        body=b"",
        timeouts=account.timeouts,
        proxy=account.proxy,
        deadline=deadline,
        stream=BodyStream(upload.pieces(model), upload.length(model)),
        private=account.brought,
    )


def _with_headers(block: bytes, own: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """The block with these lines in place of those of the same name."""
    names = {name for name, _ in own}
    kept = [line for line in block.splitlines(keepends=True) if line.partition(b":")[0] not in names]
    return b"".join([*kept, *(b"%b: %b\r\n" % line for line in own)])


def models_request(account: ProviderAccount, deadline: float, page: str = "") -> UpstreamRequest | None:
    """The request for the provider's own list of models, from `page` (a query, see `discovery.next_page`) on; None
    where the vendor has no such list."""
    try:
        origin, target = address(account, "models", "")
    except NotFound:
        return None
    if page:
        target += (b"&" if b"?" in target else b"?") + page.encode("ascii")
    return UpstreamRequest(
        pool=account.name,
        origin=origin,
        method=b"GET",
        target=target,
        headers=header_block(account),
        body=b"",
        timeouts=account.timeouts,
        proxy=account.proxy,
        deadline=deadline,
    )


def address(
    account: ProviderAccount, endpoint: Endpoint, upstream_model: str, *, stream: bool = False
) -> tuple[Origin, bytes]:
    """Where an endpoint of an account is: its origin, and path with query."""
    url = _url(account, endpoint, upstream_model, stream=stream)
    if url is None:
        raise _lacks(account, endpoint)
    return _split(account, url)


def address_below(account: ProviderAccount, rest: str) -> tuple[Origin, bytes]:
    """Where a path, with its query, below the base URL is. A version with which both begin and end (`/v1`) is not
    doubled: some clients write it, and some leave it to the base URL."""
    root = _root(account)
    last = root.rpartition("/")[2]
    if _VERSION.fullmatch(last):
        rest = rest.removeprefix(f"{last}/")
    return _split(account, f"{root}/{rest}")


def _lacks(account: ProviderAccount, endpoint: Endpoint) -> NotFound:
    return NotFound(f"The provider {account.name!r} does not offer {endpoint}.", code="unsupported_operation")


def _url(account: ProviderAccount, endpoint: Endpoint, upstream_model: str, *, stream: bool) -> str | None:
    row = account.row
    if row.locate is not None:
        return row.locate(account, endpoint, upstream_model)
    path = row.path_of(endpoint, upstream_model, stream=stream)
    if path is None:
        return None
    root = _root(account)
    if not path.startswith("/../"):
        return root + path
    scheme, _, rest = root.partition("://")
    host, _, base = rest.partition("/")
    return f"{scheme}://{host}{normpath(f'/{base}{path}')}"


def header_block(account: ProviderAccount, more: tuple[tuple[str, str], ...] = ()) -> bytes:
    """Raw header lines: content type, credential, the row's, those that a wire demands (`more`) and, in place of any of
    them, the operator's own."""
    headers = [
        ("content-type", "application/json"),
        ("user-agent", f"posthouse/{__version__}"),
    ]
    auth = account.row.auth
    if account.credential is None:
        if auth != "none":
            raise ConfigError(f"The provider {account.name!r} needs a credential.")
    elif auth in ("bearer", "none"):
        headers.append(("authorization", f"Bearer {account.credential}"))
    else:
        headers.append((auth, account.credential))
    headers += {**dict(more), **dict(account.row.headers)}.items()
    own = {name.lower() for name, _ in account.headers}
    lines = [_line(account, name, value) for name, value in headers if name not in own]
    lines += [_line(account, name.lower(), value) for name, value in account.headers]
    return b"".join(lines)


def _root(account: ProviderAccount) -> str:
    """The base URL. The vendor's own host without a path gets the vendor's path: some vendors' packages keep the two
    apart, so that a variable that serves them (https://api.example.com) serves us too."""
    base = account.base_url.rstrip("/")
    usual = account.row.base_url or ""
    return usual if "/" not in base.partition("://")[2] and usual.startswith(base + "/") else base


def _line(account: ProviderAccount, name: str, value: str) -> bytes:
    if not (name + value).isascii() or not (name + value).isprintable() or not name or " " in name or ":" in name:
        # The value is not shown: it may be the credential.
        raise ConfigError(f"The provider {account.name!r}: header {name!r} holds characters that no header may hold.")
    return f"{name}: {value.strip()}\r\n".encode("ascii")


def _split(account: ProviderAccount, url: str) -> tuple[Origin, bytes]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"The provider {account.name!r}: base_url is no URL ({error}).") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.fragment:
        raise ConfigError(f"The provider {account.name!r}: base_url must be http(s)://host[:port][/path].")
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    if not target.isascii() or not target.isprintable() or " " in target:
        raise ConfigError(f"The provider {account.name!r}: base_url holds characters that must be percent-encoded.")
    return _origin(parts, port), target.encode("ascii")


def _origin(parts: SplitResult, port: int | None) -> Origin:
    host = parts.hostname or ""
    if parts.scheme == "http":
        return Origin("http", host, port or _DEFAULT_PORTS["http"])
    return Origin("https", host, port or _DEFAULT_PORTS["https"])


def _stream_options(row: Provider) -> msgspec.Raw | None:
    if row.stream_usage != "include_usage":
        return None
    options: dict[str, bool] = {"include_usage": True}
    if row.obfuscation:
        options["include_obfuscation"] = False
    return msgspec.Raw(_encode(options))


def _ask_for_usage(fields: Fields, wanted: msgspec.Raw) -> None:
    """Sets `include_usage`, and `include_obfuscation: false` where the row wants it and the client said nothing."""
    given = fields.get("stream_options")
    if given is None or bytes(given) in _USUAL_OPTIONS:
        fields["stream_options"] = wanted
        return
    try:
        options = _decode_options(given) or {}
    except msgspec.MsgspecError:
        raise InvalidRequest("'stream_options' must be an object.", param="stream_options") from None
    if b"include_obfuscation" in bytes(wanted):
        options.setdefault("include_obfuscation", _FALSE)
    options["include_usage"] = _TRUE
    fields["stream_options"] = msgspec.Raw(_encode(options))


def _apply_quirks(row: Provider, fields: Fields, request: ModelRequest) -> Fields:
    for name in row.drop:
        fields.pop(name, None)
    if row.rename and not fields.keys().isdisjoint(row.rename):
        renamed = {row.rename[name]: value for name, value in fields.items() if name in row.rename}
        kept = {row.rename.get(name, name): value for name, value in fields.items()}
        fields = kept | renamed
    return fields if row.prepare is None else row.prepare(fields, request)
