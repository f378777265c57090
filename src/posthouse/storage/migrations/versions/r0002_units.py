"""Units that are no tokens, in the record of a request."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    # Added in place by both databases: no row is written anew.
    for name in ("images", "audio_ms", "characters", "searches"):
        op.add_column("requests", sa.Column(name, sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.add_column("requests", sa.Column("image_kind", sa.Text(), nullable=True))
