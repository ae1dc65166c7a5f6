"""`service list|show|start|stop|restart|logs`, and `logs` for short."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer

from gpumod.cli.command import Force, Timeout, Wait, command, group
from gpumod.cli.complete import service_names
from gpumod.cli.layout import Block, Cell, line
from gpumod.cli.outcome import ExitCode, short_cards
from gpumod.cli.progress import carry_out
from gpumod.cli.session import Session
from gpumod.cli.status_view import STATE_STYLES, labelled, services_blocks
from gpumod.client.calls import Verb, encode
from gpumod.core.footprint import Footprint
from gpumod.core.service import ServiceRecord
from gpumod.core.units import format_duration, format_size

Name = Annotated[
    str, typer.Argument(metavar="SERVICE", autocompletion=service_names, help="The service's id.")
]
_Preset = Annotated[
    str | None, typer.Option(help="Start it from this preset instead of the one of its own id.")
]
_Lines = Annotated[int, typer.Option("--lines", "-n", min=1, max=10_000, help="How many of the last lines.")]
_Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on with the lines to come.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    services = group("Single services of the box.")
    command(services, "list")(list_services)
    command(services, "show")(show_service)
    command(services, "start")(start)
    command(services, "stop")(stop)
    command(services, "restart")(restart)
    command(services, "logs")(logs)
    app.add_typer(services, name="service")
    command(app, "logs")(logs)


def list_services(session: Session) -> ExitCode:
    """List the services that the daemon knows."""
    services = session.client.services()
    if session.json:
        return session.emit(services, ())
    reading = encode(session.client.status().reading)
    blocks = services_blocks(encode(services), reading, time.time())
    return session.emit(services, blocks or [line("no service has run yet")])


def show_service(session: Session, service: Name) -> ExitCode:
    """Show one service: state, launch, memory, and its last words if it failed."""
    record = session.client.service(service)
    return session.emit(record, _service(record, time.time()))


def _service(record: ServiceRecord, now: float) -> list[Block]:
    since = format_duration(max(0.0, now - record.since))
    state = [Cell(record.state, STATE_STYLES.get(record.state, "warn")), Cell(f" for {since}")]
    state += [Cell(f": {record.reason}")] if record.reason else []
    blocks = [labelled("service", Cell(record.id, "head"), Cell(f"  generation {record.generation}"))]
    blocks += [
        labelled("state", *state),
        labelled("preset", Cell(f"{record.spec.preset}, {record.spec.engine}")),
    ]
    if launch := record.launch:
        blocks += [
            labelled("cards", Cell(", ".join(map(short_cards, launch.cards)) or "none")),
            labelled("port", Cell(str(launch.port))),
            labelled("build", Cell(launch.build or "not told")),
            labelled("command", Cell(" ".join(launch.argv))),
        ]
    if footprint := record.footprint:
        sizes = " + ".join(format_size(size) for size in footprint.cards)
        blocks.append(labelled("reserved", Cell(f"{sizes} ({_source(footprint)})")))
    if record.observed:
        seen = ", ".join(f"{format_size(size)} on {short_cards(card)}" for card, size in record.observed)
        blocks.append(labelled("observed", Cell(seen)))
    return [*blocks, *(line(text, "dim", lead=2) for text in record.last_log)]


def _source(footprint: Footprint) -> str:
    """Where a footprint comes from, in its own words where it has some."""
    source, note = str(footprint.source), footprint.note
    return ": ".join(filter(None, ("" if note.startswith(source) else source, note)))


def start(
    session: Session,
    service: Name,
    preset: _Preset = None,
    wait: Wait = True,
    timeout: Timeout = None,
    force: Force = False,
) -> ExitCode:
    """Start a service on top of what runs."""
    return _act(session, "start", service, preset=preset, wait=wait, timeout=timeout, force=force)


def stop(
    session: Session, service: Name, wait: Wait = True, timeout: Timeout = None, force: Force = False
) -> ExitCode:
    """Stop a service; it stays stopped until something asks for it."""
    return _act(session, "stop", service, preset=None, wait=wait, timeout=timeout, force=force)


def restart(
    session: Session, service: Name, wait: Wait = True, timeout: Timeout = None, force: Force = False
) -> ExitCode:
    """Stop a service and start it again."""
    return _act(session, "restart", service, preset=None, wait=wait, timeout=timeout, force=force)


def _act(
    session: Session,
    verb: Verb,
    name: str,
    *,
    preset: str | None,
    wait: bool,
    timeout: float | None,
    force: bool,
) -> ExitCode:
    return carry_out(
        session,
        lambda: session.client.act(verb, name, preset=preset, force=force, wait=False),
        wait=wait,
        timeout=timeout,
    )


def logs(session: Session, service: Name, lines: _Lines = 200, follow: _Follow = False) -> ExitCode:
    """Show what a service has written."""
    last = session.client.logs(service, lines)
    if session.json and not follow:
        return session.emit({"lines": last}, ())
    for text in last:
        _write(session, text)
    if follow:
        for entry in session.client.follow_logs(service):
            _write(session, entry.text)
    return ExitCode.DONE


def _write(session: Session, text: str) -> None:
    if session.json:
        import json

        text = json.dumps({"line": text}, ensure_ascii=False)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
