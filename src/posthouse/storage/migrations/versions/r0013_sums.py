"""Sums of usage by fewer columns, and indexes of what failed. Every day still has to be summed: the appliers do."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

_BY = ("key_id", "account_id", "model", "provider", "deployment", "currency", "usage_source")
_SUMS = (
    *("requests", "input_tokens", "cached_input_tokens", "output_tokens", "cost", "images", "audio_ms", "characters"),
    *("searches", "web_searches", "file_searches", "sessions"),
)


def upgrade() -> None:
    op.create_table(
        "usage_sums",
        sa.Column("shape", sa.Text(), nullable=False),
        sa.Column("unit", sa.Integer(), autoincrement=False, nullable=False),
        *(sa.Column(one, sa.Text(), nullable=False) for one in _BY),
        *(sa.Column(one, sa.BigInteger(), nullable=False) for one in _SUMS),
        sa.PrimaryKeyConstraint("shape", "unit", *_BY, name=op.f("pk_usage_sums")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "usage_changed",
        sa.Column("day", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("day", name=op.f("pk_usage_changed")),
    )
    for name, column in (("key", "key_id"), ("account", "account_id"), ("model", "model_asked")):
        op.execute(f"CREATE INDEX ix_requests_failed_{name} ON requests ({column}, status, id) WHERE status <> 200")
    op.execute("INSERT INTO usage_changed (day) SELECT DISTINCT day FROM usage_days")
