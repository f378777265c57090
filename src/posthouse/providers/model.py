"""What a provider is: a row of data, and pure functions only where it has quirks.

Above: `call.py`, which runs one attempt, and the composition root, which turns settings into accounts and deployments.
Below: `upstream.model` (timeouts) and core. A row does no I/O and knows neither retry, streams, telemetry nor money.

    Provider (row) <- ProviderAccount (a credential and an address) <- Deployment (one model of that account)
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec
from msgspec import Struct

from posthouse.core.errors import FailureKind
from posthouse.core.requests import ModelRequest, Operation
from posthouse.upstream.model import Timeouts, Transport

Auth = Literal["bearer", "api-key", "none"]
StreamUsage = Literal["include_usage", "always", "never"]
OnDisconnect = Literal["abort", "drain"]
Endpoint = Operation | Literal["models"]
Fields = dict[str, msgspec.Raw]
Prepare = Callable[[Fields, ModelRequest], Fields]
Repair = Callable[[dict[str, Any]], dict[str, Any] | None]


class Provider(Struct, frozen=True, kw_only=True, eq=False):
    """One type of provider that speaks OpenAI's dialect.

    name, title     the `type` in settings, and what people read; `aliases` are other words for the type
    docs, checked   the vendor's page, and the day (ISO) on which the row was compared with what its docstring names
    base_url        no slash at the end; None where every account has its own
    auth            `bearer`: Authorization; `api-key`: a header of that name; `none`: a credential is optional (sent as
                    Bearer where the operator gave one)
    env             variables that hold a credential, first one set wins; one that is set makes a provider by itself
    base_url_env    variable beside them that replaces `base_url`
    *_path          below the base URL; None: the vendor has none, and the operation or the discovery is refused
    locate          replaces base URL + path where an address depends on more: (account, endpoint, upstream model) ->
                    whole URL, or None where there is no such endpoint
    stream_usage    `include_usage`: must be asked for; `always`: comes by itself; `never`: never comes
    obfuscation     the vendor pads its stream with random text unless `include_obfuscation: false` is sent
    rename, drop    top-level members of a request body that the vendor calls otherwise, or refuses
    prepare         (fields, request) -> fields: whatever else the body needs. Gets a dict of its own, may change it
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
    chat_path: str | None = "/chat/completions"
    embeddings_path: str | None = "/embeddings"
    models_path: str | None = "/models"
    locate: Callable[["ProviderAccount", Endpoint, str], str | None] | None = None
    stream_usage: StreamUsage = "include_usage"
    obfuscation: bool = False
    rename: Mapping[str, str] = {}
    drop: tuple[str, ...] = ()
    prepare: Prepare | None = None
    repair: Repair | None = None
    repair_marker: bytes = b""
    codes: Mapping[str, FailureKind] = {}
    free: bool = False
    currency: str = "USD"
    price_provider: str | None = None
    found_locally: bool = False
    transport: Callable[[], Transport] | None = None

    def path_of(self, endpoint: Endpoint) -> str | None:
        """The path below the base URL, None where the vendor has no such endpoint."""
        match endpoint:
            case "chat.completions":
                return self.chat_path
            case "embeddings":
                return self.embeddings_path
            case "models":
                return self.models_path


class ProviderAccount(Struct, frozen=True, kw_only=True, eq=False):
    """One credential at one provider. `name` is unique and shown in logs; `base_url` is already resolved.

    `credential` may be None where `row.auth` is `none`. `headers` are the operator's own, sent with every request.
    `api_version` matters only to rows whose `locate` reads it. `proxy` is a URL.
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

    def __repr__(self) -> str:
        return f"Deployment({self.id!r})"


def deployment(account: ProviderAccount, model: str, upstream_model: str | None = None) -> Deployment:
    """A deployment with default priority and weight; `upstream_model` is `model` where not given."""
    return Deployment(
        id=f"{account.name}/{model}", account=account, model=model, upstream_model=upstream_model or model
    )
