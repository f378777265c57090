"""Several budgets of one subject, what was spent by model, what was paid in; scopes, and what a key may besides."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

_BUDGETS = {
    "sqlite": "json_array(json_object('nano', budget_nano, 'currency', budget_currency, 'period', budget_period))",
    "postgresql": "CAST(jsonb_build_array(jsonb_build_object("
    "'nano', budget_nano, 'currency', budget_currency, 'period', budget_period)) AS TEXT)",
}
_DAY = {
    "sqlite": "CAST(strftime('%Y%m%d', {at} / 1000, 'unixepoch') AS INTEGER)",
    "postgresql": "CAST(to_char(to_timestamp({at} / 1000) AT TIME ZONE 'UTC', 'YYYYMMDD') AS INTEGER)",
}


def upgrade() -> None:
    kind = op.get_bind().dialect.name
    for table in ("accounts", "keys"):
        for name in ("budgets", "scopes", "unpriced"):
            op.add_column(table, sa.Column(name, sa.Text(), nullable=True))
        op.execute(f"UPDATE {table} SET budgets = {_BUDGETS[kind]} WHERE budget_nano IS NOT NULL")  # noqa: S608  ours
        for name in ("budget_nano", "budget_currency", "budget_period"):
            op.drop_column(table, name)
    op.add_column("keys", sa.Column("own_credential", sa.Text(), nullable=True))
    op.create_table(
        "credits",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("amount <> 0", name=op.f("ck_credits_amount")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credits")),
        sa.UniqueConstraint("source", name=op.f("uq_credits_source")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_credits_account_id", "credits", ["account_id", "currency", "id"], unique=False)
    _spend_by_model(kind)


def _spend_by_model(kind: str) -> None:
    """The table anew, from entries, holds and corrections: what is noted of a day does not say of which models."""
    op.drop_table("spend")
    op.create_table(
        "spend",
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("day", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("subject_id", "day", "currency", "model", name=op.f("pk_spend")),
        sqlite_with_rowid=False,
    )
    began, made = (_DAY[kind].format(at=at) for at in ("h.created_at", "created_at"))
    parts = [
        f"SELECT h.{owner} AS subject_id, {began} AS day, e.currency AS currency, h.model AS model, e.amount AS amount"  # noqa: S608
        " FROM entries e JOIN holds h ON h.id = e.hold_id WHERE e.leg = 0"
        for owner in ("key_id", "account_id")
    ]
    parts += [
        f"SELECT {owner}, {made}, currency, '', amount FROM corrections WHERE {owner} IS NOT NULL"  # noqa: S608
        for owner in ("key_id", "account_id")
    ]
    op.execute(
        "INSERT INTO spend (subject_id, day, currency, model, amount)"  # noqa: S608  names of ours
        " SELECT subject_id, day, currency, model, CAST(sum(amount) AS BIGINT)"
        f" FROM ({' UNION ALL '.join(parts)}) AS charged GROUP BY subject_id, day, currency, model"
    )
