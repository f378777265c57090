"""What a key wants of every request of its own."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("keys", sa.Column("defaults", sa.Text(), nullable=True))
    op.add_column("keys", sa.Column("aliases", sa.Text(), nullable=True))
    op.add_column("keys", sa.Column("strict", sa.Boolean(), server_default=sa.text("false"), nullable=False))
