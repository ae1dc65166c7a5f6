"""Benchmark jobs, their samples and results, and schedules."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "jobs",
        sa.Column("number", sa.Integer(), primary_key=True),
        sa.Column("id", sa.String(), nullable=False, unique=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("dedupe", sa.String(), nullable=False),
        sa.Column("not_before", sa.Float()),
        sa.Column("window", sa.String()),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("heartbeat", sa.Float()),
        sa.Column("phase", sa.String()),
        sa.Column("started", sa.Float()),
        sa.Column("ended", sa.Float()),
        sa.Column("cancel_asked", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("progress", sa.String(), nullable=False),
        sa.Column("held", sa.String(), nullable=False),
        sa.Column("record", sa.String(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_jobs_state", "jobs", ["state"])
    op.create_index(
        "ix_jobs_running", "jobs", ["state"], unique=True, sqlite_where=sa.text("state = 'running'")
    )
    live = sa.text("dedupe != '' AND state IN ('queued', 'running')")
    op.create_index("ix_jobs_dedupe", "jobs", ["dedupe"], unique=True, sqlite_where=live)
    op.create_table(
        "job_waits",
        sa.Column("job", sa.String(), sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("waits_for", sa.String(), primary_key=True),
    )
    op.create_index("ix_job_waits_waits_for", "job_waits", ["waits_for"])
    op.create_table(
        "samples",
        sa.Column("number", sa.Integer(), primary_key=True),
        sa.Column("job", sa.String(), sa.ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("case", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("record", sa.String(), nullable=False),
        sa.UniqueConstraint("job", "target", "case"),
    )
    op.create_table(
        "results",
        sa.Column("number", sa.Integer(), primary_key=True),
        sa.Column("job", sa.String(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("suite", sa.String(), nullable=False),
        sa.Column("record", sa.String(), nullable=False),
        sa.UniqueConstraint("job", "target"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_results_target", "results", ["target"])
    op.create_index("ix_results_suite", "results", ["suite"])
    op.create_table(
        "schedules",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("record", sa.String(), nullable=False),
    )
