"""The settings, frozen. Every default that a user can meet stands here, and docs/configuration.md explains each.

Below: core. Above: the composition root, which hands each room the part that it needs. Durations are in seconds, sizes
in bytes, amounts of money decimal strings.
"""

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, NewType

from msgspec import Meta, Struct, structs

from posthouse.core.errors import FailureKind
from posthouse.settings.secret import Secret, SecretUrl

BaseUrl = NewType("BaseUrl", str)  # http(s)://host[:port][/path], without a slash at its end
Amount = NewType("Amount", str)  # a decimal string that core.money.parse_nano accepts
AdminKey = NewType("AdminKey", Secret)  # at least 32 visible characters
HookSecret = NewType("HookSecret", Secret)  # at least 16 characters, or empty, which is as good as none

# A provider's name is part of deployment ids, which travel in a header; models are whatever their vendors call them.
ProviderName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\Z", max_length=64)]
ModelName = Annotated[str, Meta(pattern=r"^[^\x00-\x20\x7f]+\Z", max_length=256)]
ModelNameOrNone = Annotated[str, Meta(pattern=r"^[^\x00-\x20\x7f]*\Z", max_length=256)]
Currency = Annotated[str, Meta(pattern=r"^[A-Z]{3}\Z")]
Text = Annotated[str, Meta(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]+\Z")]

ServiceTier = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_-]{0,31}\Z")]
TimeOfDay = Annotated[str, Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]\Z")]

# What each pattern means, for people.
HINTS: Final[Mapping[object, str]] = {
    ProviderName: "ASCII letters, digits, dots, dashes and underscores, beginning with a letter or digit",
    ModelName: "a name without spaces",
    ModelNameOrNone: "a name without spaces",
    Currency: "three capital letters, such as USD",
    Text: "one line of text",
    ServiceTier: "a word such as flex or priority",
    TimeOfDay: "a time of day such as 08:30",
}

# The operations of `core.requests.TEXTS`, spelled out for whoever reads a file that has another.
Wire = Literal["chat.completions", "responses", "messages", "generate_content", "completions"]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Port = Annotated[int, Meta(ge=0, le=65_535)]
Bytes = Annotated[int, Meta(ge=1024, le=2**40)]
JournalBytes = Annotated[int, Meta(ge=64 * 1024 * 1024, le=2**40)]  # the journal keeps 32 MiB of it for ends of calls
Count = Annotated[int, Meta(ge=1, le=10_000_000_000)]
Seconds = Annotated[float, Meta(gt=0, le=31_536_000)]
SecondsOrOff = Annotated[float, Meta(ge=0, le=31_536_000)]


class Section(Struct, frozen=True):
    """Base of every table of the file."""


class ServerSettings(Section, frozen=True, kw_only=True):
    """The socket that clients reach. Port 0 takes any free one; heartbeat and keep_alive 0 mean off."""

    host: Text = "127.0.0.1"
    port: Port = 8700
    body_limit: Bytes = 32 * 1024 * 1024
    header_limit: Bytes = 64 * 1024
    header_timeout: Seconds = 10.0
    body_timeout: Seconds = 30.0
    keep_alive: SecondsOrOff = 75.0
    drain_timeout: SecondsOrOff = 30.0
    heartbeat: SecondsOrOff = 15.0
    cors_origins: tuple[Text, ...] = ("*",)
    trusted_proxies: tuple[Text, ...] = ()


class StorageSettings(Section, frozen=True, kw_only=True):
    """Where things are kept. Without `database_url`, SQLite in `data`."""

    data: Path
    database_url: SecretUrl | None = None
    redis_url: SecretUrl | None = None
    journal_limit: JournalBytes = 256 * 1024 * 1024
    journal_segment: Annotated[int, Meta(ge=1024 * 1024, le=2**30)] = 16 * 1024 * 1024


class UpstreamSettings(Section, frozen=True, kw_only=True):
    """Connections to providers, and the timeouts of every provider that sets none of its own."""

    max_connections: Count = 4096
    keep_alive: SecondsOrOff = 30.0
    connect_timeout: Seconds = 5.0
    first_byte_timeout: Seconds = 120.0
    idle_timeout: Seconds = 60.0
    total_timeout: Seconds = 600.0


class RoutingSettings(Section, frozen=True, kw_only=True):
    """Attempts, and how models are found. `models_refresh` 0 asks the providers for their models only once."""

    max_attempts: Annotated[int, Meta(ge=1, le=100)] = 4
    deadline: Seconds = 600.0
    backoff_base: SecondsOrOff = 0.5
    backoff_max: SecondsOrOff = 8.0
    cooldown: SecondsOrOff = 30.0
    cooldown_max: SecondsOrOff = 300.0
    models_refresh: SecondsOrOff = 600.0
    discover: bool = True


class BillingSettings(Section, frozen=True, kw_only=True):
    """`unpriced`: what to do with a model whose price nobody knows; auto refuses it to callers that have a budget."""

    unpriced: Literal["auto", "allow", "refuse"] = "auto"
    default_output_tokens: Count = 4096


class BoundSettings(Section, frozen=True, kw_only=True):
    """What can be limited: requests, tokens and images per minute, hour and calendar day, requests at once, and the
    tokens of one request. None is no limit."""

    rpm: Count | None = None
    tpm: Count | None = None
    concurrency: Count | None = None
    rph: Count | None = None
    rpd: Count | None = None
    tpd: Count | None = None
    ipm: Count | None = None
    ipd: Count | None = None
    request_tokens: Count | None = None


class ModelLimitsSettings(BoundSettings, frozen=True, kw_only=True):
    """Limits of one model, for all callers together."""

    name: ModelName


class LimitsSettings(BoundSettings, frozen=True, kw_only=True):
    """Limits of a key that has none of its own; `request_spend` of `request_currency` is the most that one request may
    cost. `time_zone`: of the calendar day. `models` and `address` are of the whole house, and of each address that
    asks."""

    request_spend: Amount | None = None
    request_currency: Currency | None = None
    time_zone: Text = "UTC"
    models: tuple[ModelLimitsSettings, ...] = ()
    address: BoundSettings | None = None


class IdempotencySettings(Section, frozen=True, kw_only=True):
    """`Idempotency-Key`: how long answers are kept (0 heeds no keys), how long a repetition waits for the first answer,
    and bytes of an answer that is kept and of all those of an account."""

    keep: SecondsOrOff = 86_400.0
    wait: Seconds = 120.0
    max_answer: Bytes = 1024 * 1024
    max_account: Bytes = 64 * 1024 * 1024


class PointsSettings(Section, frozen=True, kw_only=True):
    """Money shown and taken as points: `per_unit` of them are one unit of `currency`. Both or neither."""

    name: Text = "points"
    currency: Currency | None = None
    per_unit: Annotated[int, Meta(ge=1, le=1_000_000_000)] | None = None


class TopupSettings(Section, frozen=True, kw_only=True):
    """What is paid in by webhooks: without its secret each of them does not exist. `tolerance`: how old a signature may
    be. A payment of less than `minimum`, of more than `maximum`, of other than one of `amounts` or in other than one of
    `currencies` is refused, where these are set."""

    generic_secret: HookSecret | None = None
    stripe_secret: HookSecret | None = None
    tolerance: Annotated[int, Meta(ge=1, le=86_400)] = 300
    minimum: Amount | None = None
    maximum: Amount | None = None
    amounts: tuple[Amount, ...] = ()
    currencies: tuple[Currency, ...] = ()


class LogSettings(Section, frozen=True, kw_only=True):
    """`requests`: one line for each request."""

    format: Literal["json", "text"] = "json"
    level: Literal["debug", "info", "warning", "error"] = "info"
    requests: bool = True


class AdminSettings(Section, frozen=True, kw_only=True):
    """`key`: the admin key; None lets the first start make one."""

    key: AdminKey | None = None


class TimeoutSettings(Section, frozen=True, kw_only=True):
    """Deadlines of one attempt: to connect, to the first byte of the answer, between bytes, and over all."""

    connect: Seconds = 5.0
    first_byte: Seconds = 120.0
    idle: Seconds = 60.0
    total: Seconds = 600.0


class ModelEntry(Section, frozen=True, kw_only=True):
    """A model as callers name it, and as the provider does (the same where the file names one only)."""

    name: ModelName
    upstream: ModelNameOrNone = ""

    def __post_init__(self) -> None:
        if not self.upstream:
            structs.force_setattr(self, "upstream", self.name)


class ProviderSettings(Section, frozen=True, kw_only=True):
    """One provider account. `credentials` in place of `credential` where it has several. `models` None means the
    provider's own list; `wires` None what its type is known to speak; `timeout` is complete, defaults filled in;
    `passthrough` opens `/providers/{name}/...`."""

    name: ProviderName
    type: Text
    base_url: BaseUrl | None = None
    credential: Secret | None = None
    credentials: Annotated[tuple[Secret, ...], Meta(min_length=1)] | None = None
    models: tuple[ModelEntry, ...] | None = None
    priority: Annotated[int, Meta(ge=-1_000_000, le=1_000_000)] = 0
    weight: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    proxy: SecretUrl | None = None
    timeout: TimeoutSettings = TimeoutSettings()
    on_disconnect: Literal["abort", "drain"] = "abort"
    headers: dict[str, Secret] = {}
    api_version: Text | None = None
    wires: Annotated[tuple[Wire, ...], Meta(min_length=1)] | None = None
    passthrough: bool = False


class RouteSettings(Section, frozen=True, kw_only=True):
    """A name of the operator's own in front of several models. `fallbacks`: where a request goes that failed so."""

    name: ModelName
    models: Annotated[tuple[ModelName, ...], Meta(min_length=1)]
    strategy: Literal["priority", "weighted", "latency", "cheapest"] = "priority"
    fallbacks: dict[FailureKind, tuple[ModelName, ...]] = {}


class TierSettings(Section, frozen=True, kw_only=True):
    """Amounts for the whole of a request with more than `above` tokens of input; what is left out stays."""

    above: Annotated[int, Meta(ge=1, le=1_000_000_000)]
    input: Amount | None = None
    cached_input: Amount | None = None
    cache_write: Amount | None = None
    cache_write_1h: Amount | None = None
    output: Amount | None = None
    reasoning: Amount | None = None


class PriceSettings(Section, frozen=True, kw_only=True):
    """An override: amounts per million tokens or characters, per thousand searches of the web or of files, per image,
    second of sound, search of a rerank, session of a container and call; or a `multiplier` of what would hold without
    it. `image_kinds` are the images that cost something else than `image`. `provider` None holds for every provider
    account, `model` `*` for every model; `service_tier`, the dates and the hours say when."""

    model: ModelName
    provider: ProviderName | None = None
    currency: Currency | None = None
    multiplier: Amount | None = None
    service_tier: ServiceTier | None = None
    input: Amount | None = None
    cached_input: Amount | None = None
    cache_write: Amount | None = None
    cache_write_1h: Amount | None = None
    output: Amount | None = None
    reasoning: Amount | None = None
    audio_input: Amount | None = None
    audio_output: Amount | None = None
    image_input: Amount | None = None
    image_output: Amount | None = None
    cached_audio_input: Amount | None = None
    cached_image_input: Amount | None = None
    tiers: tuple[TierSettings, ...] = ()
    image: Amount | None = None
    image_kinds: dict[str, Amount] = {}
    audio_second: Amount | None = None
    character: Amount | None = None
    search: Amount | None = None
    web_search: Amount | None = None
    file_search: Amount | None = None
    session: Amount | None = None
    request: Amount | None = None
    effective_from: datetime.date | None = None
    effective_until: datetime.date | None = None
    daily_from: TimeOfDay | None = None
    daily_until: TimeOfDay | None = None
    days: tuple[Weekday, ...] = ()
    zone: Text = "UTC"


class RateSettings(Section, frozen=True, kw_only=True):
    """`rate` units of `quote` for one of `base`, from `date` (UTC) until the next rate of the pair."""

    base: Currency
    quote: Currency
    rate: Amount
    date: datetime.date


class Settings(Section, frozen=True, kw_only=True):
    """Everything, read once at start."""

    server: ServerSettings
    storage: StorageSettings
    upstream: UpstreamSettings
    routing: RoutingSettings
    billing: BillingSettings
    limits: LimitsSettings
    idempotency: IdempotencySettings
    points: PointsSettings
    topup: TopupSettings
    log: LogSettings
    admin: AdminSettings
    providers: tuple[ProviderSettings, ...] = ()
    routes: tuple[RouteSettings, ...] = ()
    prices: tuple[PriceSettings, ...] = ()
    rates: tuple[RateSettings, ...] = ()
