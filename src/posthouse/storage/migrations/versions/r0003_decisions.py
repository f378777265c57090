"""Why a request went where it went, in its record."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("requests", sa.Column("decision", sa.Text(), nullable=True))
