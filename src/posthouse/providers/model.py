"""What a provider is: a row of data, and pure functions only where it has quirks.

Above: `call.py`, which runs one attempt, and the composition root, which turns settings into accounts and deployments.
Below: `upstream.model` (timeouts) and core. A row does no I/O and knows neither retry, streams, telemetry nor money.

    Provider (row) <- ProviderAccount (a credential and an address) <- Deployment (one model of that account)
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal
from urllib.parse import quote

import msgspec
from msgspec import Struct

from posthouse.core.errors import FailureKind
from posthouse.core.items import InnerRequest
from posthouse.core.requests import MEDIA, ModelRequest, Operation
from posthouse.core.usage import Usage
from posthouse.upstream.model import Timeouts, Transport

Auth = Literal["bearer", "api-key", "x-api-key", "x-goog-api-key", "none"]
StreamUsage = Literal["include_usage", "always", "never"]
OnDisconnect = Literal["abort", "drain"]
Endpoint = Operation | Literal["models"]
Fields = dict[str, msgspec.Raw]
Prepare = Callable[[Fields, ModelRequest], Fields]
Repair = Callable[[dict[str, Any]], dict[str, Any] | None]
Fit = Callable[[InnerRequest, str], tuple[InnerRequest, tuple[str, ...]]]

# Where an endpoint usually is, below the base URL. `{model}` is `models/NAME`, or the name where it has a slash.
PATHS: Final[Mapping[Endpoint, str]] = {
    "chat.completions": "/chat/completions",
    "responses": "/responses",
    "messages": "/messages",
    "generate_content": "/{model}:generateContent",
    "completions": "/completions",
    "embeddings": "/embeddings",
    "images.generations": "/images/generations",
    "images.edits": "/images/edits",
    "images.variations": "/images/variations",
    "audio.speech": "/audio/speech",
    "audio.transcriptions": "/audio/transcriptions",
    "audio.translations": "/audio/translations",
    "moderations": "/moderations",
    "rerank": "/rerank",
    "models": "/models",
}
# Endpoints that have another place for streams.
_STREAMS: Final[Mapping[Endpoint, str]] = {"generate_content": "/{model}:streamGenerateContent?alt=sse"}


class Vectors(Struct, frozen=True, eq=False):
    """Embeddings of a vendor whose interface is not OpenAI's: (members of OpenAI's request, upstream model) -> body;
    body of the answer -> vectors in their order, and usage where it is told. InvalidRequest, DialectError."""

    encode: Callable[[Fields, str], bytes]
    decode: Callable[[bytes], tuple[list[list[float]], Usage | None]]


class Detour(Struct, frozen=True, eq=False):
    """Requests for which `when` is true must go over `wire`, although the vendor knows the one that they came by."""

    wire: Operation
    when: Callable[[ModelRequest], bool]


class Provider(Struct, frozen=True, kw_only=True, eq=False):
    """One type of provider.

    name, title     the `type` in settings, and what people read; `aliases` are other words for the type
    docs, checked   the vendor's page, and the day (ISO) on which the row was compared with what its docstring names
    base_url        no slash at the end; None where every account has its own
    auth            `bearer`: Authorization; `none`: a credential is optional (sent as Bearer where the operator gave
                    one); the rest: a header of that name
    env             variables that hold a credential, first one set wins; one that is set makes a provider by itself
    base_url_env    variable beside them that replaces `base_url`
    headers         fixed lines of every request: (name in lower case, value)
    wires           the text operations that the vendor knows: a request in one of them passes as it came, any other is
                    translated for the first
    sites           the vendor's domains besides the host of `base_url`. Elsewhere stands a compatible server, of which
                    no more is believed than chat.completions, if the vendor knows that
    offers          what the vendor has of images, sound, moderation and reranking (`core.requests.MEDIA`)
    paths           below the base URL, where an endpoint is not at its usual place (`PATHS`); None: there is none. A
                    path that begins with `/../` leaves the last part of the base URL
    locate          replaces base URL + path where an address depends on more: (account, endpoint, upstream model) ->
                    whole URL, or None where there is no such endpoint
    named           where models have names of their customer's making: a name -> the vendor's name of the model, None
                    where it does not tell it. `detour`, `fit` and `refuses` are asked of what the upstream name tells,
                    else the public one; where neither does, they are not asked
    detour          (wire, upstream model) -> the requests of that model which that wire refuses, None: there are none
    fit             (request, upstream model) -> the request without what that model refuses, and the inner names of
                    what was taken out; asked where a request is translated, never where it passes
    customs         the wires over which the vendor takes custom tools and the role developer; in what is translated
                    for any other they are functions with one text (`dialects.custom`), and system
    thoughts        the member in which a message takes back the thoughts of an earlier turn, over chat.completions;
                    None: there is none, and what is translated has no thoughts
    refuses         (wire, upstream model) -> members that we write into every request of that wire, and that this model
                    refuses; asked there too
    vectors         embeddings, where the vendor has them in a form of its own
    stream_usage    of chat completions, as what follows up to `repair_marker` (`rename` and `drop` of embeddings too):
                    `include_usage`: must be asked for; `always`: comes by itself; `never`: never comes
    obfuscation     the vendor pads its stream with random text unless `include_obfuscation: false` is sent
    rename, drop    top-level members of a request body that the vendor calls otherwise, or refuses
    prepare         (fields, request) -> fields: whatever else the body needs. Gets a dict of its own, may change it
    reshape         the same for what is offered besides texts: operation -> (fields, request) -> fields
    repair          stream chunk (decoded, its own) -> chunk in OpenAI's form, or None where nothing was to repair
    repair_marker   bytes that stand in every event with which `repair` has work to do; others are not decoded for it
    codes           error code, type, family of either (what is before the first dot) or bare HTTP status, in lower case
                    and as text -> kind; asked before the rules that all vendors share
    free            self-hosted: its price is zero rather than unknown
    currency        ISO 4217, of the vendor's price list
    price_provider  the vendor's id in the price seed, None where the seed has none
    found_locally   look for it at `base_url` when nothing is configured
    transport       makes a transport of its own (in process); None is the house's HTTP client
    """

    name: str
    title: str
    docs: str
    checked: str
    base_url: str | None = None
    auth: Auth = "bearer"
    env: tuple[str, ...] = ()
    base_url_env: str | None = None
    aliases: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    wires: tuple[Operation, ...] = ("chat.completions",)
    sites: tuple[str, ...] = ()
    offers: tuple[Operation, ...] = ()
    paths: Mapping[Endpoint, str | None] = {}
    locate: Callable[["ProviderAccount", Endpoint, str], str | None] | None = None
    named: Callable[[str], str | None] | None = None
    detour: Callable[[Operation, str], Detour | None] | None = None
    fit: Fit | None = None
    customs: tuple[Operation, ...] = ()
    thoughts: str | None = "reasoning_content"
    refuses: Callable[[Operation, str], tuple[str, ...]] | None = None
    vectors: Vectors | None = None
    stream_usage: StreamUsage = "include_usage"
    obfuscation: bool = False
    rename: Mapping[str, str] = {}
    drop: tuple[str, ...] = ()
    prepare: Prepare | None = None
    reshape: Mapping[Operation, Prepare] = {}
    repair: Repair | None = None
    repair_marker: bytes = b""
    codes: Mapping[str, FailureKind] = {}
    free: bool = False
    currency: str = "USD"
    price_provider: str | None = None
    found_locally: bool = False
    transport: Callable[[], Transport] | None = None

    def path_of(self, endpoint: Endpoint, upstream_model: str = "", *, stream: bool = False) -> str | None:
        """The path below the base URL, None where the vendor has no such endpoint. Of texts see `wires` first."""
        if endpoint in MEDIA and endpoint not in self.offers:
            return None
        usual = _STREAMS.get(endpoint, PATHS[endpoint]) if stream else PATHS[endpoint]
        path = self.paths.get(endpoint, usual)
        if path is None or "{model}" not in path:
            return path
        model = upstream_model if "/" in upstream_model else f"models/{upstream_model}"
        return path.replace("{model}", quote(model, safe="/"))


class ProviderAccount(Struct, frozen=True, kw_only=True, eq=False):
    """One credential at one provider. `name` is unique and shown in logs; `base_url` is already resolved.

    `credential` may be None where `row.auth` is `none`. `headers` are the operator's own, sent with every request.
    `api_version` matters only to rows whose `locate` reads it. `proxy` is a URL. `wires` is the operator's word on what
    is spoken at this address, None: see `Provider.sites`. `passthrough`: all of the vendor's interface is open to the
    callers of the house. `brought`: the credential is not the operator's but a caller's own (`brought.py`).
    """

    name: str
    row: Provider
    base_url: str
    credential: str | None = msgspec.field(default=None)
    proxy: str | None = None
    timeouts: Timeouts = Timeouts()
    on_disconnect: OnDisconnect = "abort"
    headers: tuple[tuple[str, str], ...] = ()
    api_version: str | None = None
    wires: tuple[Operation, ...] | None = None
    passthrough: bool = False
    brought: bool = False

    def __repr__(self) -> str:
        # The generated one would print the credential into whatever log meets it.
        return f"ProviderAccount(name={self.name!r}, row={self.row.name!r})"


class Deployment(Struct, frozen=True, kw_only=True, eq=False):
    """One model at one account. `id` is `<account>/<model>`; `model` is the public name, `upstream_model` theirs.

    Higher `priority` first; `weight` is the share among equals.
    """

    id: str
    account: ProviderAccount
    model: str
    upstream_model: str
    priority: int = 0
    weight: float = 1.0

    @property
    def known_as(self) -> str | None:
        """The vendor's name of the model; None where it cannot be told."""
        named = self.account.row.named
        return self.upstream_model if named is None else named(self.upstream_model) or named(self.model)

    def __repr__(self) -> str:
        return f"Deployment({self.id!r})"


def deployment(account: ProviderAccount, model: str, upstream_model: str | None = None) -> Deployment:
    """A deployment with default priority and weight; `upstream_model` is `model` where not given."""
    return Deployment(
        id=f"{account.name}/{model}", account=account, model=model, upstream_model=upstream_model or model
    )
