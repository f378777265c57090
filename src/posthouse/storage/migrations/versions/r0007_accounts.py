"""Accounts: a tree of them, with models of their own; more limits; what a key may do on the control plane."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("accounts", sa.Column("parent_id", sa.Text(), nullable=True))
    op.add_column("accounts", sa.Column("kind", sa.Text(), server_default=sa.text("'team'"), nullable=False))
    op.add_column("accounts", sa.Column("models", sa.Text(), nullable=True))
    op.create_index("ix_accounts_parent_id", "accounts", ["parent_id"], unique=False)
    op.add_column("keys", sa.Column("role", sa.Text(), nullable=True))
    for table in ("accounts", "keys"):
        for name in ("rph", "rpd", "tpd", "ipm", "ipd", "request_tokens", "request_nano"):
            op.add_column(table, sa.Column(name, sa.BigInteger(), nullable=True))
        op.add_column(table, sa.Column("request_currency", sa.Text(), nullable=True))
        op.add_column(table, sa.Column("model_limits", sa.Text(), nullable=True))
