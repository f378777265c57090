"""Roll-ups of usage by hour and by day, corrections, and indexes over records and entries."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_BY = ("key_id", "account_id", "model", "provider", "deployment", "operation", "currency", "usage_source")
_COUNTS = (
    *("input", "cache_read", "cache_write", "cache_write_1h", "output", "reasoning", "audio_input", "audio_output"),
    *("image_input", "image_output", "audio_cache_read", "image_cache_read", "images", "audio_ms", "characters"),
    *("searches", "web_searches", "file_searches", "sessions"),
)
_SUMS = ("requests", "failed", "priced", "unpriced", "cost", *_COUNTS)


def upgrade() -> None:
    op.create_index("ix_entries_ledger_account", "entries", ["ledger_account", "hold_id", "leg"], unique=False)
    op.create_index("ix_requests_account_id", "requests", ["account_id", "id"], unique=False)
    op.create_index("ix_requests_key_id", "requests", ["key_id", "id"], unique=False)
    op.create_index("ix_requests_model_asked", "requests", ["model_asked", "id"], unique=False)
    op.create_index("ix_requests_created_at", "requests", ["created_at"], unique=False)
    op.execute("CREATE INDEX ix_requests_model ON requests ((CASE WHEN model <> model_asked THEN model END), id)")
    op.execute("CREATE INDEX ix_requests_status ON requests (status, id) WHERE status <> 200")
    _rolled("usage_hours", "hour")
    _rolled("usage_days", "day")
    op.create_table(
        "corrections",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=True),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("amount <> 0", name=op.f("ck_corrections_amount")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_corrections")),
        sa.UniqueConstraint("account_id", "idempotency_key", name=op.f("uq_corrections_account_id")),
        sa.UniqueConstraint("number", name=op.f("uq_corrections_number")),
        sqlite_with_rowid=False,
    )
    _fill()


def _rolled(name: str, unit: str) -> None:
    op.create_table(
        name,
        sa.Column(unit, sa.Integer(), autoincrement=False, nullable=False),
        *(sa.Column(one, sa.Text(), nullable=False) for one in _BY),
        *(sa.Column(one, sa.BigInteger(), server_default=sa.text("0"), nullable=False) for one in _SUMS),
        sa.PrimaryKeyConstraint(unit, *_BY, name=op.f(f"pk_{name}")),
        sqlite_with_rowid=False,
    )
    op.create_index(f"ix_{name}_account_id", name, ["account_id", unit], unique=False)
    op.create_index(f"ix_{name}_key_id", name, ["key_id", unit], unique=False)


def _fill() -> None:
    """From the records that are there already; days from hours."""
    by = ", ".join(f"coalesce({name}, '')" for name in _BY)
    given = {
        "requests": "1",
        "failed": "CASE WHEN status >= 400 THEN 1 ELSE 0 END",
        "priced": "CASE WHEN priced THEN 1 ELSE 0 END",
        "unpriced": "CASE WHEN NOT priced AND usage_source IS NOT NULL THEN 1 ELSE 0 END",
        "cost": "coalesce(cost, 0)",
    }
    sums = ", ".join(f"sum({given.get(name, name)})" for name in _SUMS)
    columns = ", ".join((*_BY, *_SUMS))
    places = ", ".join(str(number + 1) for number in range(len(_BY) + 1))
    op.execute(
        f"INSERT INTO usage_hours (hour, {columns})"  # noqa: S608  names of ours
        f" SELECT created_at / 3600000, {by}, {sums} FROM requests GROUP BY {places}"
    )
    summed = ", ".join(f"sum({name})" for name in _SUMS)
    op.execute(
        f"INSERT INTO usage_days (day, {columns})"  # noqa: S608  names of ours
        f" SELECT hour / 24, {', '.join(_BY)}, {summed} FROM usage_hours GROUP BY {places}"
    )
