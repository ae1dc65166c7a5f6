"""`mode list|show|check|set`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gpumod.cli.command import command, group
from gpumod.cli.commands.config import ConfigFolder
from gpumod.cli.commands.switching import ModeName, check
from gpumod.cli.complete import mode_names
from gpumod.cli.layout import Block, Cell, Column, Row, Table, line
from gpumod.cli.outcome import ExitCode
from gpumod.cli.session import Session
from gpumod.cli.status_view import labelled
from gpumod.core.errors import UnreachableError
from gpumod.core.spec import Mode, ServiceSpec
from gpumod.core.units import format_size

_Edited = Annotated[
    str, typer.Argument(metavar="MODE", autocompletion=mode_names, help="The mode to change.")
]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    modes = group("The modes that the box can be in.")
    command(modes, "list")(list_modes)
    command(modes, "show")(show_mode)
    command(modes, "check")(check_mode)
    command(modes, "set")(set_mode)
    app.add_typer(modes, name="mode")


def list_modes(session: Session) -> ExitCode:
    """List the modes; the present one is marked."""
    modes = session.client.modes()
    if session.json:
        return session.emit(modes, ())
    present = session.client.status().mode
    columns = (
        Column(""),
        Column("mode"),
        Column("services", shrinks=True),
        Column("description", shrinks=True),
    )
    rows = tuple(
        Row(
            (
                Cell("*" if mode.id == present else "", "good"),
                Cell(mode.id),
                Cell(", ".join(service.id for service in mode.services) or "-"),
                Cell(mode.description),
            )
        )
        for mode in modes
    )
    return session.emit(modes, [Table(columns, rows)])


def show_mode(session: Session, mode: ModeName) -> ExitCode:
    """Show a mode: its services, routes, and what a failed switch to it leaves."""
    found = session.client.mode(mode)
    return session.emit(found, _mode(found))


def _mode(mode: Mode) -> list[Block]:
    blocks: list[Block] = [labelled("mode", Cell(mode.id, "head"), Cell(f"  {mode.description}"))]
    blocks += [labelled("service", Cell(_service(service))) for service in mode.services]
    blocks += [labelled("route", Cell(f"{name} -> {service}")) for name, service in mode.routes]
    return [*blocks, labelled("failure", Cell(f"a failed switch to it leaves: {mode.on_failure}"))]


def _service(spec: ServiceSpec) -> str:
    """A service in a line: engine, model and the numbers that decide its memory."""
    facts: list[Any] = [spec.engine]
    facts += [spec.model.rsplit("/", 1)[-1]] if spec.model else []
    facts += [f"context {spec.context}"] if spec.context else []
    facts += [f"{spec.slots} slots"] if (spec.slots or 1) > 1 else []
    facts += [f"vram {' + '.join(map(format_size, spec.vram.sizes))}"] if spec.vram else []
    where = ", ".join(spec.cards.exact)
    facts += [f"on {where}"] if where else [f"on {spec.cards.count} cards"] if spec.cards.count > 1 else []
    name = spec.id if str(spec.id) == str(spec.preset) else f"{spec.id} (preset {spec.preset})"
    return f"{name}: {', '.join(map(str, facts))}"


def check_mode(session: Session, mode: ModeName) -> ExitCode:
    """Tell whether the box could go to a mode now; every reason if not."""
    session.client.mode(mode)  # a preset of that name is no mode
    return check(session, mode)


def set_mode(
    session: Session,
    mode: _Edited,
    service: Annotated[
        str | None, typer.Argument(metavar="SERVICE", help="Its service; added if it has none.")
    ] = None,
    preset: Annotated[
        str | None, typer.Argument(metavar="PRESET", help="What the service runs from now on.")
    ] = None,
    replace: Annotated[
        str | None,
        typer.Option(
            "--replace",
            metavar="OLD=NEW",
            help="Instead of naming a service: what runs from preset OLD runs from NEW from now on.",
        ),
    ] = None,
    config: ConfigFolder = None,
) -> ExitCode:
    """Change which preset a service of a mode runs from, in the mode's file; `switch` changes the mode."""
    from gpumod.config.settings import load_settings

    if replace is not None:
        if service is not None:
            raise typer.BadParameter("give either SERVICE and PRESET or --replace OLD=NEW, not both")
        old, equals, new = replace.partition("=")
        if not equals or not old or not new:
            raise typer.BadParameter(f"{replace!r} is not OLD=NEW")
        from gpumod.config.edit import replace_preset

        file, services = replace_preset(load_settings(config), mode, old, new)
        return _told(session, mode, str(file), services, new)
    if service is None or preset is None:
        raise typer.BadParameter("SERVICE and PRESET are needed, or --replace OLD=NEW")
    from gpumod.config.edit import set_mode_service

    changed = set_mode_service(load_settings(config), mode, service, preset)
    return _told(session, mode, str(changed), (service,), preset)


def _told(session: Session, mode: str, file: str, services: tuple[str, ...], preset: str) -> ExitCode:
    reloaded = _reloaded(session)
    when = (
        f"`gpumodctl switch {mode}` puts it into effect"
        if reloaded
        else "no daemon answers; it reads the file when it starts"
    )
    answer = {"file": file, "mode": mode, "service": services[0], "services": services, "preset": preset}
    runs = f"{', '.join(services)} {'run' if len(services) > 1 else 'runs'} from {preset}"
    return session.emit(answer | {"reloaded": reloaded}, [line(f"{file}: {runs}; {when}", "good")])


def _reloaded(session: Session) -> bool:
    """Have the daemon read its files again, if there is one."""
    try:
        session.client.reload()
    except UnreachableError:
        return False
    return True
