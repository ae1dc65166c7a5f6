"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "services",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("record", sa.String(), nullable=False),
    )
    op.create_table(
        "generations",
        sa.Column("service", sa.String(), primary_key=True),
        sa.Column("last", sa.Integer(), nullable=False),
    )
    op.create_table(
        "ports",
        sa.Column("service", sa.String(), primary_key=True),
        sa.Column("port", sa.Integer(), nullable=False),
    )
    op.create_table(
        "desired",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("mode", sa.String(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("record", sa.String(), nullable=False),
    )
    op.create_table(
        "switches",
        sa.Column("number", sa.Integer(), primary_key=True),
        sa.Column("id", sa.String(), nullable=False, unique=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("started", sa.Float(), nullable=False),
        sa.Column("record", sa.String(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_switches_state", "switches", ["state"])
    op.create_table(
        "steps",
        sa.Column("switch", sa.String(), sa.ForeignKey("switches.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("phase", sa.String(), primary_key=True),
        sa.Column("index", sa.Integer(), primary_key=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("record", sa.String(), nullable=False),
    )
    op.create_table(
        "leases",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("until", sa.Float(), nullable=False),
        sa.Column("record", sa.String(), nullable=False),
    )
    op.create_table(
        "measurements",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("card_name", sa.String(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("stage", sa.String(), nullable=False),
        sa.Column("record", sa.String(), nullable=False),
    )
    op.create_index("ix_measurements_fingerprint", "measurements", ["fingerprint"])
    op.create_table(
        "events",
        sa.Column("seq", sa.Integer(), primary_key=True),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("record", sa.String(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "idempotency",
        sa.Column("key", sa.String(), primary_key=True),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("answer", sa.String(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
    )
    op.create_index("ix_idempotency_at", "idempotency", ["at"])
    op.create_table(
        "meta",
        sa.Column("key", sa.String(), primary_key=True),
        sa.Column("value", sa.String(), nullable=False),
    )
