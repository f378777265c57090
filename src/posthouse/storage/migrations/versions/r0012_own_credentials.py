"""Which requests were made by a credential of their caller's, and what was charged of their price."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column("requests", sa.Column("own_fee_ppm", sa.BigInteger(), nullable=True))
    op.execute("CREATE INDEX ix_requests_own ON requests (created_at) WHERE own_fee_ppm IS NOT NULL")
