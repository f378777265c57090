"""Every table, in one MetaData; SQLite and PostgreSQL alike.

Conventions: ids are TEXT and sort by time (core/ids.py), so a primary key is also the order of every listing and an
insert goes to the end of the tree. Instants are milliseconds since the epoch. Money is nano-units beside its currency.
Tables that the journal fills carry no foreign keys: they are written in batches, after the fact, and must not fail on a
deleted key.

Size: the schema is one thing, and is looked up in one place.
"""

from typing import Any, Final

from sqlalchemy import (
    DDL,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    event,
    text,
)

from posthouse.core.usage import COUNTS

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)

# Small facts about the installation (the hash of the admin key, for one).
meta = Table(
    "meta",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

# One counter per room of the control plane. A running server polls them and reloads what moved.
revisions = Table(
    "revisions",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

# Servers that share this database. `seen_at` is the database's clock; all that a replica had admitted before
# `applied_to` (Redis's clock) is in these tables.
replicas = Table(
    "replicas",
    metadata,
    Column("name", Text, primary_key=True),
    Column("seen_at", BigInteger, nullable=False),
    Column("applied_to", BigInteger, nullable=False),
)

# How far each server's journal has been applied; moves in the same transaction as the rows themselves.
journal_position = Table(
    "journal_position",
    metadata,
    Column("journal", Text, primary_key=True),
    Column("segment", BigInteger, nullable=False),
    Column("offset", BigInteger, nullable=False),
)


def _more_limits() -> list[Column[Any]]:
    """Limits besides those of a minute; `model_limits` is a JSON object of them by the name of a model."""
    numbers = ("rph", "rpd", "tpd", "ipm", "ipd", "request_tokens", "request_nano")
    # `budgets`: a JSON list. `scopes`: a JSON list of names; null is all. `unpriced`: allow, refuse; null is neither.
    texts = ("request_currency", "model_limits", "budgets", "scopes", "unpriced")
    return [*(Column(name, BigInteger) for name in numbers), *(Column(name, Text) for name in texts)]


accounts = Table(
    "accounts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("rpm", BigInteger),
    Column("tpm", BigInteger),
    Column("concurrency", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Column("disabled_at", BigInteger),
    Column("parent_id", Text, index=True),  # the account above; null is a root. None is ever deleted.
    Column("kind", Text, nullable=False, server_default=text("'team'")),
    Column("models", Text),  # as keys.models
    *_more_limits(),
)

keys = Table(
    "keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("hash", LargeBinary, nullable=False, unique=True),  # SHA-256 of the secret, 32 bytes
    Column("hint", Text, nullable=False),  # the few characters that may be shown
    Column("name", Text, nullable=False),
    Column("account_id", Text, ForeignKey(accounts.c.id), nullable=False, index=True),
    Column("models", Text),  # JSON list of names; null is all
    Column("rpm", BigInteger),
    Column("tpm", BigInteger),
    Column("concurrency", BigInteger),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Column("defaults", Text),  # JSON object: members that are set where a request lacks them
    Column("aliases", Text),  # JSON object: the models meant by other names
    Column("strict", Boolean, nullable=False, server_default=text("false")),
    Column("role", Text),  # what it may do on the control plane; null is nothing
    *_more_limits(),
    Column("own_credential", Text),  # JSON: whose place a credential of the caller may take; null is nobody's
)

# A hold ends exactly once: held -> settled | released | expired. `id` is the request's. `amount` and `currency` are
# null where the model has no price and policy let it pass.
holds = Table(
    "holds",
    metadata,
    Column("id", Text, primary_key=True),
    Column("key_id", Text, nullable=False),
    Column("account_id", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("amount", BigInteger),
    Column("currency", Text),
    Column("state", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Column("charged", BigInteger),
    Column("reason", Text),
    Column("owner", Text),  # the replica that it belongs to; null where there was but one server
    CheckConstraint("state in ('held', 'settled', 'released', 'expired')", name="state"),
    sqlite_with_rowid=False,
)
# Holds still open are few: what a start must end, and what `ledger verify` counts, without reading the whole table.
# Plain SQL that both databases know: Index(postgresql_where=...) would import PostgreSQL's dialect: 45 ms a start.
_OPEN_HOLDS = DDL("CREATE INDEX ix_holds_open ON holds (id) WHERE state = 'held'")  # type: ignore[no-untyped-call]
event.listen(holds, "after_create", _OPEN_HOLDS)
# Double entry, append-only. Leg 0 debits `account:<account_id>` (+), leg 1 credits `provider:<name>` (-); the sum of a
# hold is zero. The primary key is the idempotency key.
entries = Table(
    "entries",
    metadata,
    Column("hold_id", Text, primary_key=True),
    Column("leg", Integer, primary_key=True, autoincrement=False),
    Column("ledger_account", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("usage_source", Text),
    Column("created_at", BigInteger, nullable=False),
    CheckConstraint("leg in (0, 1)", name="leg"),
    Index("ix_entries_ledger_account", "ledger_account", "hold_id", "leg"),
    sqlite_with_rowid=False,
)

# One row per request, in the order of rows.RequestRow (a test holds that).
requests = Table(
    "requests",
    metadata,
    Column("id", Text, primary_key=True),
    Column("created_at", BigInteger, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("account_id", Text, nullable=False),
    Column("operation", Text, nullable=False),
    Column("model_asked", Text, nullable=False),
    Column("model", Text),
    Column("provider", Text),
    Column("deployment", Text),
    Column("stream", Boolean, nullable=False),
    Column("status", Integer, nullable=False),
    Column("error_code", Text),
    Column("attempts", Integer, nullable=False),
    Column("attempts_detail", Text),  # JSON
    Column("input", BigInteger, nullable=False),
    Column("cache_read", BigInteger, nullable=False),
    Column("cache_write", BigInteger, nullable=False),
    Column("cache_write_1h", BigInteger, nullable=False),
    Column("output", BigInteger, nullable=False),
    Column("reasoning", BigInteger, nullable=False),
    Column("audio_input", BigInteger, nullable=False),
    Column("audio_output", BigInteger, nullable=False),
    Column("image_input", BigInteger, nullable=False),
    Column("image_output", BigInteger, nullable=False),
    Column("usage_source", Text),
    Column("cost", BigInteger),
    Column("currency", Text),
    Column("priced", Boolean, nullable=False),
    Column("hold_amount", BigInteger),
    Column("hold_state", Text),
    Column("ttft_ms", BigInteger),
    Column("duration_ms", BigInteger, nullable=False),
    Column("ended_by", Text, nullable=False),  # complete | client | upstream | error
    # What is sold by other units than tokens (core/usage.py). Columns, not JSON: usage is summed over them.
    Column("images", BigInteger, nullable=False, server_default=text("0")),
    Column("audio_ms", BigInteger, nullable=False, server_default=text("0")),
    Column("characters", BigInteger, nullable=False, server_default=text("0")),
    Column("searches", BigInteger, nullable=False, server_default=text("0")),
    Column("image_kind", Text),  # size and quality
    Column("decision", Text),  # JSON; null where there was nothing to decide
    Column("audio_cache_read", BigInteger, nullable=False, server_default=text("0")),
    Column("image_cache_read", BigInteger, nullable=False, server_default=text("0")),
    Column("web_searches", BigInteger, nullable=False, server_default=text("0")),
    Column("file_searches", BigInteger, nullable=False, server_default=text("0")),
    Column("sessions", BigInteger, nullable=False, server_default=text("0")),
    # What it was billed by: the tier, the price (price_snapshots), and where that is in another currency than `cost`,
    # what it came to there and the rate, a fraction.
    Column("service_tier", Text),
    Column("price_id", Text),
    Column("list_cost", BigInteger),
    Column("list_currency", Text),
    Column("exchange_rate", Text),
    Column("own_fee_ppm", BigInteger),  # its caller brought a credential, and this much of the price was to be charged
    Index("ix_requests_account_id", "account_id", "id"),
    Index("ix_requests_key_id", "key_id", "id"),
    Index("ix_requests_model_asked", "model_asked", "id"),
    Index("ix_requests_created_at", "created_at"),
    sqlite_with_rowid=False,
)

# A model that answered under another name, and any status but 200. In plain SQL as above. The name is an expression,
# not a condition of the index, since PostgreSQL keeps statistics of expressions: it must know that there are few.
OTHER_NAME: Final = "CASE WHEN model <> model_asked THEN model END"
RARE_STATUS: Final = "status <> 200"
OWN_CREDENTIAL: Final = "own_fee_ppm IS NOT NULL"
for _sql in (
    f"CREATE INDEX ix_requests_model ON requests (({OTHER_NAME}), id)",
    f"CREATE INDEX ix_requests_status ON requests (status, id) WHERE {RARE_STATUS}",
    # What failed of one key, account or model: few rows, and else all that it ever did would be read for them.
    f"CREATE INDEX ix_requests_failed_key ON requests (key_id, status, id) WHERE {RARE_STATUS}",
    f"CREATE INDEX ix_requests_failed_account ON requests (account_id, status, id) WHERE {RARE_STATUS}",
    f"CREATE INDEX ix_requests_failed_model ON requests (model_asked, status, id) WHERE {RARE_STATUS}",
    f"CREATE INDEX ix_requests_own ON requests (created_at) WHERE {OWN_CREDENTIAL}",
):
    event.listen(requests, "after_create", DDL(_sql))  # type: ignore[no-untyped-call]

# Every price that was ever billed with, by an id that is made of its content.
price_snapshots = Table(
    "price_snapshots",
    metadata,
    Column("id", Text, primary_key=True),
    Column("body", Text, nullable=False),  # JSON
    Column("created_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# Prices that the operator set beside the file; `body` is a [[prices]] table as JSON.
price_rows = Table(
    "price_rows",
    metadata,
    Column("id", Text, primary_key=True),
    Column("body", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

# The price seed in place of the package's own: one row, `current`.
price_seeds = Table(
    "price_seeds",
    metadata,
    Column("name", Text, primary_key=True),
    Column("data", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

# What each subject (key or account) has spent per UTC day and model: the fold of all settlements and corrections (which
# are of no model), compared by `ledger verify`.
spend = Table(
    "spend",
    metadata,
    Column("subject_id", Text, primary_key=True),
    Column("day", Integer, primary_key=True, autoincrement=False),  # yyyymmdd
    Column("currency", Text, primary_key=True),
    Column("model", Text, primary_key=True, server_default=text("''")),
    Column("amount", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# What was consumed, rolled up by hour and by UTC day (both counted since the epoch): the fold of all records and
# corrections, which `ledger verify` compares and `ledger rebuild` makes anew. "" stands for what a record does not
# have. A record belongs to the hour of its `created_at`; a correction is an `operation` of its own without requests.
ROLLED_BY: Final = (
    "key_id",
    "account_id",
    "model",
    "provider",
    "deployment",
    "operation",
    "currency",
    "usage_source",
)
# `failed` had a status of 400 or more, `unpriced` consumed something that has no price.
ROLLED_UP: Final = ("requests", "failed", "priced", "unpriced", "cost", *COUNTS)


def _rolled(name: str, unit: str) -> Table:
    return Table(
        name,
        metadata,
        Column(unit, Integer, primary_key=True, autoincrement=False),
        *(Column(one, Text, primary_key=True) for one in ROLLED_BY),
        *(Column(one, BigInteger, nullable=False, server_default=text("0")) for one in ROLLED_UP),
        Index(f"ix_{name}_account_id", "account_id", unit),
        Index(f"ix_{name}_key_id", "key_id", unit),
        sqlite_with_rowid=False,
    )


usage_hours = _rolled("usage_hours", "hour")
usage_days = _rolled("usage_days", "day")

# The same by fewer columns, of whole units of time, for what the console asks: hours, days and blocks of days.
# `shape` says which columns and which unit (storage/sums.py); those that it does not tell apart are "". Made of the
# roll-ups by whoever applies the journal, some time after a day is over. A day in `usage_changed` has changed since:
# what is here of it, and of its block, is not to be believed.
SUMMED_BY: Final = ("key_id", "account_id", "model", "provider", "deployment", "currency", "usage_source")
SUMMED: Final = (
    *("requests", "input_tokens", "cached_input_tokens", "output_tokens", "cost", "images", "audio_ms", "characters"),
    *("searches", "web_searches", "file_searches", "sessions"),
)
usage_sums = Table(
    "usage_sums",
    metadata,
    Column("shape", Text, primary_key=True),
    Column("unit", Integer, primary_key=True, autoincrement=False),
    *(Column(one, Text, primary_key=True) for one in SUMMED_BY),
    *(Column(one, BigInteger, nullable=False) for one in SUMMED),
    sqlite_with_rowid=False,
)
usage_changed = Table(
    "usage_changed",
    metadata,
    Column("day", BigInteger, primary_key=True, autoincrement=False),
)

# What somebody has put right: `amount` is what the account owes more (less, where negative). Append-only; its entries
# have its id. `number` counts them all, so that a running server can tell which ones it has not heard of yet.
corrections = Table(
    "corrections",
    metadata,
    Column("id", Text, primary_key=True),
    Column("number", BigInteger, nullable=False, unique=True),
    Column("account_id", Text, nullable=False),
    Column("key_id", Text),
    Column("amount", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("idempotency_key", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    UniqueConstraint("account_id", "idempotency_key"),
    CheckConstraint("amount <> 0", name="amount"),
    sqlite_with_rowid=False,
)

# What has been paid in for an account: the fold of them is what its prepaid budget of the currency amounts to.
# Append-only; its entries have its id. `source` says where it comes from and is there once: `code:ID`, `stripe:EVENT`.
credits = Table(
    "credits",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("source", Text, nullable=False, unique=True),
    Column("reason", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    CheckConstraint("amount <> 0", name="amount"),
    Index("ix_credits_account_id", "account_id", "currency", "id"),
    sqlite_with_rowid=False,
)

# Redemption codes of one making, and what each of them is worth.
code_batches = Table(
    "code_batches",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("count", Integer, nullable=False),
    Column("expires_at", BigInteger),
    Column("author", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    CheckConstraint("amount > 0", name="amount"),
    sqlite_with_rowid=False,
)

# A code is redeemed once, or revoked, or neither. Its credit has the source `code:ID`.
codes = Table(
    "codes",
    metadata,
    Column("id", Text, primary_key=True),
    Column("batch_id", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False, unique=True),  # SHA-256 of the code, 32 bytes
    Column("hint", Text, nullable=False),  # its end, which may be shown
    Column("redeemed_at", BigInteger),
    Column("redeemed_by", Text),  # an account
    Column("revoked_at", BigInteger),
    Index("ix_codes_batch_id", "batch_id", "id"),
    sqlite_with_rowid=False,
)

# With such a code somebody makes an account of his own below `parent_id` (null: a root). `terms`: JSON, what the
# account and its first key are like, and what is credited.
invitations = Table(
    "invitations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("hint", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("parent_id", Text),
    Column("inviter_id", Text),  # an account
    Column("terms", Text, nullable=False),
    Column("max_uses", Integer, nullable=False),
    Column("uses", Integer, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    Column("author", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    CheckConstraint("uses <= max_uses", name="uses"),
    sqlite_with_rowid=False,
)

# Who has come by them. Credits have the sources `invited:ID` and `inviter:ID`.
invitation_uses = Table(
    "invitation_uses",
    metadata,
    Column("id", Text, primary_key=True),
    Column("invitation_id", Text, nullable=False, index=True),
    Column("account_id", Text, nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# Payments at a payment provider, by its own id (`stripe:ID`): whose they are (null: not known yet), and in nano-units
# what was paid, given back in all, disputed in all, and how much of that was taken back here.
payments = Table(
    "payments",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", Text),
    Column("currency", Text, nullable=False),
    Column("paid", BigInteger, nullable=False),
    Column("refunded", BigInteger, nullable=False),
    Column("disputed", BigInteger, nullable=False),
    Column("taken", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# Events that payment providers have told of, each heeded once: `digest` is of what it said, SHA-256.
payment_events = Table(
    "payment_events",
    metadata,
    Column("id", Text, primary_key=True),
    Column("digest", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# Answers to requests with an `Idempotency-Key`, for those that repeat one (storage/claims.py). Without a status: a
# claim, which `owner` holds until `expires_at`. `id` is a hash of account, route and key, `size` what it counts for its
# account.
idempotency = Table(
    "idempotency",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", Text, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),  # SHA-256 of the request, 32 bytes
    Column("owner", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False, index=True),
    Column("size", BigInteger, nullable=False),
    Column("status", Integer),
    Column("head", LargeBinary),
    Column("body", LargeBinary),
    Index("ix_idempotency_account_id", "account_id", "created_at"),
)
