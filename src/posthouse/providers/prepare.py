"""From a deployment and a request to the bytes that go to the provider.

All that does not depend on the request is computed once, in `prepare`; `body_for` runs on the hot path: a copy of the
dict of raw members, the replacements that the row asks for, one encode. Nested values are never decoded, except
`stream_options`, and what a row's own `prepare` quirk decodes.
"""

from typing import Final
from urllib.parse import SplitResult, urlsplit

import msgspec
from msgspec import Struct

from posthouse import __version__
from posthouse.core.errors import ConfigError, InvalidRequest, NotFound
from posthouse.core.requests import ModelRequest, Operation
from posthouse.providers.model import Deployment, Endpoint, Fields, Provider, ProviderAccount
from posthouse.upstream.model import Origin, UpstreamRequest

_encode: Final = msgspec.json.Encoder().encode
_decode_options: Final = msgspec.json.Decoder(dict[str, msgspec.Raw] | None).decode
# What nearly every client writes into `stream_options`; anything else is decoded, at 2 us.
_USUAL_OPTIONS: Final = frozenset({b"null", b"{}", b'{"include_usage":true}', b'{"include_usage": true}'})
_TRUE: Final = msgspec.Raw(b"true")
_FALSE: Final = msgspec.Raw(b"false")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class Prepared(Struct, frozen=True, eq=False, kw_only=True):
    """What every request of one operation to one deployment has in common. Made by `prepare`, kept by the caller.

    `headers` are raw lines without host, content-length and connection. `model` is the JSON string that replaces the
    member `model`; `stream_options` the member to set on a stream that has none, None where the row asks for none.
    """

    deployment: Deployment
    operation: Operation
    origin: Origin
    target: bytes
    headers: bytes
    model: msgspec.Raw
    stream_options: msgspec.Raw | None
    plain: bool  # the row has no rename, drop or prepare: the usual case, and the shortest way through body_for

    def __repr__(self) -> str:
        # The generated one would print the credential in `headers` into whatever log meets it.
        return f"Prepared({self.deployment.id!r}, {self.operation!r})"


def prepare(deployment: Deployment, operation: Operation) -> Prepared:
    """Raises NotFound where the provider lacks the operation, ConfigError where the account's settings cannot stand."""
    row = deployment.account.row
    origin, target = address(deployment.account, operation, deployment.upstream_model)
    return Prepared(
        deployment=deployment,
        operation=operation,
        origin=origin,
        target=target,
        headers=header_block(deployment.account),
        model=msgspec.Raw(_encode(deployment.upstream_model)),
        stream_options=_stream_options(row) if operation == "chat.completions" else None,
        plain=not row.rename and not row.drop and row.prepare is None,
    )


def body_for(prepared: Prepared, request: ModelRequest) -> bytes:
    """The body to send. Key order and unknown members are kept; `request.fields` is not changed."""
    fields = request.fields.copy()
    fields["model"] = prepared.model
    if request.stream and prepared.stream_options is not None:
        _ask_for_usage(fields, prepared.stream_options)
    if not prepared.plain:
        fields = _apply_quirks(prepared.deployment.account.row, fields, request)
    return _encode(fields)


def request_for(prepared: Prepared, request: ModelRequest, deadline: float) -> UpstreamRequest:
    """The whole request. `deadline` is the loop's time at which everything must be over."""
    account = prepared.deployment.account
    return UpstreamRequest(
        pool=prepared.deployment.id,
        origin=prepared.origin,
        method=b"POST",
        target=prepared.target,
        headers=prepared.headers,
        body=body_for(prepared, request),
        timeouts=account.timeouts,
        proxy=account.proxy,
        deadline=deadline,
    )


def models_request(account: ProviderAccount, deadline: float) -> UpstreamRequest | None:
    """The request for the provider's own list of models; None where the vendor has no such list."""
    try:
        origin, target = address(account, "models", "")
    except NotFound:
        return None
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


def address(account: ProviderAccount, endpoint: Endpoint, upstream_model: str) -> tuple[Origin, bytes]:
    """Where an endpoint of an account is: its origin, and path with query."""
    row = account.row
    if row.locate is not None:
        url = row.locate(account, endpoint, upstream_model)
    else:
        path = row.path_of(endpoint)
        url = None if path is None else _root(account) + path
    if url is None:
        raise NotFound(f"The provider {account.name!r} does not offer {endpoint}.", code="unsupported_operation")
    return _split(account, url)


def header_block(account: ProviderAccount) -> bytes:
    """Raw header lines: content type, credential, and the operator's own."""
    headers = [
        ("content-type", "application/json"),
        ("user-agent", f"posthouse/{__version__}"),
    ]
    if account.credential is not None:
        if account.row.auth == "api-key":
            headers.append(("api-key", account.credential))
        else:
            headers.append(("authorization", f"Bearer {account.credential}"))
    elif account.row.auth != "none":
        raise ConfigError(f"The provider {account.name!r} needs a credential.")
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
