"""`job schedule add|list|delete`: jobs that are submitted again and again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated

import typer

from gpumod.cli import job_options
from gpumod.cli.command import command, group
from gpumod.cli.complete import schedule_names
from gpumod.cli.job_arguments import BeginWindow, Param, Targets
from gpumod.cli.layout import Block, Cell, Column, Row, Table, line
from gpumod.cli.outcome import ExitCode
from gpumod.cli.session import Session
from gpumod.client.job_calls import ScheduledJob, Work

_Id = Annotated[
    str, typer.Argument(metavar="SCHEDULE", autocompletion=schedule_names, help="The schedule's name.")
]


def add_to(jobs: typer.Typer) -> None:
    """Register the commands below `job`."""
    schedules = group("Jobs that are submitted again and again.")
    command(schedules, "add")(add_schedule)
    command(schedules, "list")(list_schedules)
    command(schedules, "delete")(delete_schedule)
    jobs.add_typer(schedules, name="schedule")


def add_schedule(
    session: Session,
    schedule: _Id,
    cron: Annotated[
        str,
        typer.Argument(metavar="CRON", help="Minute, hour, day of month, month, day of week: '30 2 * * *'."),
    ],
    suite: Annotated[str, typer.Argument(metavar="SUITE", help="What to measure, for example speed.")],
    targets: Targets,
    param: Param = None,
    timezone: Annotated[
        str, typer.Option(help="The time zone of CRON and of the window, for example Europe/Berlin.")
    ] = "UTC",
    priority: Annotated[int, typer.Option(help="Larger ones run first.")] = 0,
    window: BeginWindow = None,
    label: Annotated[str, typer.Option(help="A name for people.")] = "",
    disabled: Annotated[bool, typer.Option("--disabled", help="Keep it, and let it not fire.")] = False,
) -> ExitCode:
    """Submit a job again and again; takes the place of the schedule of that name."""
    work = Work(
        suite=suite,
        targets=targets,
        parameters=job_options.parameters(param or ()),
        priority=priority,
        window=job_options.window(window, timezone) if window is not None else None,
        label=label,
    )
    saved = session.client.save_schedule(schedule, cron, work, timezone=timezone, enabled=not disabled)
    return session.emit(saved, [line(f"schedule {saved.id}: {_what(saved)}, {_next(saved)}", "good")])


def list_schedules(session: Session) -> ExitCode:
    """List the schedules, and when they fire next."""
    found = session.client.schedules()
    return session.emit(found, _blocks(found))


def delete_schedule(session: Session, schedule: _Id) -> ExitCode:
    """Forget a schedule; the jobs that it has submitted stay."""
    former = session.client.delete_schedule(schedule)
    return session.emit(former, [line(f"schedule {former.id} is deleted; the jobs that it submitted stay")])


def _blocks(found: Sequence[ScheduledJob]) -> list[Block]:
    if not found:
        return [line("no schedule yet")]
    columns = (Column("schedule"), Column("what", shrinks=True), Column("when"), Column("next"))
    rows = tuple(
        Row((Cell(one.id), Cell(_what(one)), Cell(f"{one.cron} {one.timezone}"), Cell(_next(one))))
        for one in found
    )
    return [Table(columns, rows)]


def _what(schedule: ScheduledJob) -> str:
    request = schedule.request
    label = f" ({request.label})" if request.label else ""
    return f"{request.suite} on {', '.join(request.targets)}{label}"


def _next(schedule: ScheduledJob) -> str:
    if schedule.next is None:
        return "never" if schedule.enabled else "disabled"
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(schedule.next))
