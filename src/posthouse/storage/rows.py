"""What the hot path appends to the journal, one struct per kind of line.

They encode to JSON arrays in the order of their fields, which is the order that appliers.py reads; a test holds both.
No database types: an instant is int milliseconds since the epoch, money int nano-units. Strings must be valid Unicode;
a NUL in one becomes U+FFFD, since PostgreSQL stores none.

    kind  row          applied to
    H     HoldRow      holds
    E     EndRow       holds, entries, spend
    R     RequestRow   requests
    P     PriceRow     price_snapshots
"""

from typing import Final, Literal

from msgspec import Struct

from posthouse.core.usage import UsageSource

HOLD: Final = "H"
END: Final = "E"
REQUEST: Final = "R"
PRICE: Final = "P"

EndState = Literal["settled", "released", "expired"]
EndedBy = Literal["complete", "client", "upstream", "error"]


class HoldRow(Struct, array_like=True, frozen=True, gc=False):
    """A hold begins. `id` is the request's id; `amount` and `currency` are both None for a model without a price;
    `owner` is the replica that it belongs to, None where there is but one server."""

    id: str
    key_id: str
    account_id: str
    model: str
    amount: int | None
    currency: str | None
    created_at: int
    owner: str | None = None


class EndRow(Struct, array_like=True, frozen=True, gc=False):
    """A hold ends: settled, released or expired. Everything that its entries and the spend of its day need is here.

    `charged` is what is really billed (0 for a release: then there are no entries); where it is not 0, `currency` and
    `provider` must be given. `day` is yyyymmdd (UTC) of the day that bears the cost. `model` is
    its hold's; None where an older version wrote the line: then it is looked up.
    """

    hold_id: str
    state: EndState
    ended_at: int
    charged: int
    currency: str | None
    usage_source: UsageSource | None
    key_id: str
    account_id: str
    provider: str | None
    day: int
    reason: str | None
    model: str | None = None


class RequestRow(Struct, array_like=True, frozen=True, gc=False):
    """The record of one request, in the order of `tables.requests`. Durations are in milliseconds. `own_fee_ppm`: its
    caller brought a credential, and was to be charged so many millionths of the price; None: it did not.

    What a newer version adds stands at the end with a default: lines of an older one, which an upgrade finds in the
    journal, have nothing there.
    """

    id: str
    created_at: int
    key_id: str
    account_id: str
    operation: str
    model_asked: str
    model: str | None = None
    provider: str | None = None
    deployment: str | None = None
    stream: bool = False
    status: int = 200
    error_code: str | None = None
    attempts: int = 0
    attempts_detail: str | None = None
    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    output: int = 0
    reasoning: int = 0
    audio_input: int = 0
    audio_output: int = 0
    image_input: int = 0
    image_output: int = 0
    usage_source: UsageSource | None = None
    cost: int | None = None
    currency: str | None = None
    priced: bool = False
    hold_amount: int | None = None
    hold_state: EndState | None = None
    ttft_ms: int | None = None
    duration_ms: int = 0
    ended_by: EndedBy = "complete"
    images: int = 0
    audio_ms: int = 0
    characters: int = 0
    searches: int = 0
    image_kind: str | None = None
    decision: str | None = None
    audio_cache_read: int = 0
    image_cache_read: int = 0
    web_searches: int = 0
    file_searches: int = 0
    sessions: int = 0
    service_tier: str | None = None
    price_id: str | None = None
    list_cost: int | None = None
    list_currency: str | None = None
    exchange_rate: str | None = None
    own_fee_ppm: int | None = None


class PriceRow(Struct, array_like=True, frozen=True, gc=False):
    """A price that a request was billed with, as JSON; `id` is made of its content, so it never changes. `created_at`
    is when it was first used."""

    id: str
    body: str
    created_at: int


JournalRow = HoldRow | EndRow | RequestRow | PriceRow
