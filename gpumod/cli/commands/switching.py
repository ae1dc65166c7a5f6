"""Changing the mode: `switch`, `preflight`, and the switches there were."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Annotated

import typer

from gpumod.cli.command import Force, Timeout, Wait, command, group, seconds
from gpumod.cli.complete import mode_names, preset_and_mode_names
from gpumod.cli.layout import Cell, Column, Row, Table, Text, line
from gpumod.cli.outcome import ExitCode
from gpumod.cli.plan_view import plan_blocks
from gpumod.cli.preflight_view import preflight_blocks
from gpumod.cli.progress import carry_out, follow, left_running
from gpumod.cli.screen import show
from gpumod.cli.session import Session
from gpumod.cli.status_view import switch_blocks
from gpumod.client.calls import Preflight, encode
from gpumod.core.errors import RefusedError
from gpumod.core.preflight import ServicePreflight
from gpumod.core.spec import OnFailure
from gpumod.core.switch import SwitchRecord, SwitchState
from gpumod.core.units import format_duration

ModeName = Annotated[
    str, typer.Argument(metavar="MODE", autocompletion=mode_names, help="The mode to go to.")
]
_DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show the plan, or why there is none; change nothing.")
]
_OnFailure = Annotated[
    OnFailure | None,
    typer.Option("--on-failure", help="What a failed switch leaves behind.", show_default=False),
]
_Deadline = Annotated[
    float | None,
    typer.Option(parser=seconds, metavar="DURATION", help="Undo the switch if it takes longer than this."),
]
_FitContext = Annotated[
    bool,
    typer.Option("--fit-context", help="Find the largest context that fits now, and the line to write."),
]
_Oracle = Annotated[
    bool, typer.Option("--oracle", help="Ask llama-fit-params, beside llama-server, for a second opinion.")
]
SwitchName = Annotated[str, typer.Argument(metavar="SWITCH", help="The switch's id.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    command(app, "switch")(switch)
    command(app, "preflight")(preflight)
    switches = group("The switches there were, and the one that runs.")
    command(switches, "list")(list_switches)
    command(switches, "show")(show_switch)
    command(switches, "cancel")(cancel_switch)
    app.add_typer(switches, name="switches")


def switch(
    session: Session,
    mode: ModeName,
    dry_run: _DryRun = False,
    wait: Wait = True,
    timeout: Timeout = None,
    force: Force = False,
    on_failure: _OnFailure = None,
    deadline: _Deadline = None,
) -> ExitCode:
    """Move the box to a mode. `blank` stops everything of ours."""
    if dry_run:
        plan = session.client.plan(mode, force=force, on_failure=on_failure)
        return session.emit({"plan": plan} if session.json else plan, plan_blocks(plan))

    def begin() -> SwitchRecord:
        return session.client.switch(mode, wait=False, force=force, on_failure=on_failure, deadline=deadline)

    return carry_out(session, begin, wait=wait, timeout=timeout)


def preflight(
    session: Session,
    name: Annotated[
        str, typer.Argument(metavar="PRESET|MODE", autocompletion=preset_and_mode_names, help="What to try.")
    ],
    fit_context: _FitContext = False,
    oracle: _Oracle = False,
) -> ExitCode:
    """Tell whether a preset, on top of what runs, or a mode would start now, and each part of its memory.

    Where it would not start: every reason, and what would fit. Nothing is changed.
    """
    return check(session, name, fit_context=fit_context, oracle=oracle)


def check(session: Session, name: str, *, fit_context: bool = False, oracle: bool = False) -> ExitCode:
    """Answer with the plan and every part; raise every reason why there is no plan."""
    found = session.client.preflight(name, fit_context=fit_context, oracle=oracle)
    services = preflight_blocks(found.services)
    if not found.fits:
        if not session.json:
            show(services)
        raise _refused(name, found)
    said = {f"{one.service}: {sentence}" for one in found.services for sentence in _sentences(one)}
    plan = plan_blocks(found.plan, said) if found.plan else ()
    good = line(f"{name} would start now", "good")
    return session.emit(found, [good, Text(()), *services, Text(()), *plan])


def _sentences(service: ServicePreflight) -> Iterator[str]:
    """What is shown with a service, and is a warning of the plan as well."""
    yield from (one.sentence for one in service.landmines)
    yield from service.footprint.warnings if service.footprint is not None else ()


def _refused(name: str, found: Preflight) -> RefusedError:
    reasons = found.reasons or ()
    why = " ".join(f"{reason.detail.rstrip('.')}." for reason in reasons)
    facts = {
        "reasons": [encode(one) for one in reasons],
        "services": [encode(one) for one in found.services],
    }
    return RefusedError(f"{name} would not start now: {why}", facts)


def list_switches(
    session: Session, limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 20
) -> ExitCode:
    """List the latest switches, newest first."""
    records = session.client.switches(limit)
    columns = (
        Column("switch"),
        Column("what", shrinks=True),
        Column("from -> to"),
        Column("state"),
        Column("took", right=True),
        Column("ago", right=True),
    )
    rows = tuple(_switch_row(record, time.time()) for record in records)
    return session.emit(records, [Table(columns, rows) if rows else line("no switch yet")])


def _switch_row(record: SwitchRecord, now: float) -> Row:
    took = "" if record.ended is None else format_duration(record.ended - record.started)
    style = {"committed": "good", "rolled_back": "bad", "failed": "bad"}.get(record.state, "warn")
    elsewhere = record.left if record.state is not SwitchState.COMMITTED else ""
    notes = tuple(Cell(text, "dim") for text in (record.reason, elsewhere and f"left: {elsewhere}") if text)
    return Row(
        (
            Cell(record.id),
            Cell(record.request.phrase),
            Cell(f"{record.source} -> {record.target}"),
            Cell(record.state.replace("_", " "), style),
            Cell(took),
            Cell(format_duration(max(0.0, now - record.started))),
        ),
        notes,
    )


def show_switch(session: Session, id: SwitchName) -> ExitCode:
    """Show one switch with its steps."""
    record = session.client.switch_record(id)
    return session.emit(record, switch_blocks(encode(record), time.time()))


def cancel_switch(session: Session, id: SwitchName, wait: Wait = True, timeout: Timeout = None) -> ExitCode:
    """Ask a running switch to stop and undo itself; one that has ended is left."""
    record = session.client.cancel(id)
    if record.state.ended:
        ended = record.state.replace("_", " ")
        return session.emit(record, [line(f"switch {record.id} has ended: {ended}; nothing to cancel")])
    if wait:
        try:
            record = follow(session, record, timeout)
        except KeyboardInterrupt:
            return left_running(session, record)
    return session.emit(record, switch_blocks(encode(record), time.time()))
