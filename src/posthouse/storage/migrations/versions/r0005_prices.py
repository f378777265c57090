"""Prices: what a request was billed by, and prices and rows that an operator sets beside the file."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    for name in ("audio_cache_read", "image_cache_read", "web_searches", "file_searches", "sessions"):
        op.add_column("requests", sa.Column(name, sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.add_column("requests", sa.Column("service_tier", sa.Text(), nullable=True))
    op.add_column("requests", sa.Column("price_id", sa.Text(), nullable=True))
    op.add_column("requests", sa.Column("list_cost", sa.BigInteger(), nullable=True))
    op.add_column("requests", sa.Column("list_currency", sa.Text(), nullable=True))
    op.add_column("requests", sa.Column("exchange_rate", sa.Text(), nullable=True))
    op.create_table(
        "price_snapshots",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_price_snapshots")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "price_rows",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_price_rows")),
    )
    op.create_table(
        "price_seeds",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_price_seeds")),
    )
