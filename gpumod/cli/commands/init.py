"""`init`: finds cards, engines and models, and writes presets and a first mode."""

from __future__ import annotations

import os
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpumod.cli.command import command
from gpumod.cli.commands.config import ConfigFolder
from gpumod.cli.layout import Block, Cell, Column, Row, Table, line
from gpumod.cli.outcome import ExitCode, say
from gpumod.cli.session import Session
from gpumod.core.errors import GpumodError
from gpumod.core.units import format_size

if TYPE_CHECKING:
    from gpumod.client.address import Address
    from gpumod.discovery.report import File, Model, Report

_SHOWN = 40
"""Skipped files that are listed to people; `--json` has all."""
_STYLES = {"new": "good", "replaced": "warn", "kept": "dim"}


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    command(app, "init")(init)


def init(
    session: Session,
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FOLDER]...", help="Where models are, besides the usual places."),
    ] = None,
    config: ConfigFolder = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be written.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Write anew what init wrote and nobody changed.")
    ] = False,
) -> ExitCode:
    """Find cards, engines and models, and write presets and a first mode. Works without a daemon."""
    from gpumod.discovery import Request, initialise

    given = tuple(str(folder.absolute()) for folder in folders or ())
    report = initialise(Request(config, given, dry_run, force), os.environ, _tell(session))
    told = _tell_daemon(session, report.config) if report.models and not report.dry_run else None
    if told:
        report = replace(report, notes=(*report.notes, told))
    steps = _next(report, config, told)
    answer = {name: getattr(report, name) for name in report.__slots__}
    session.emit({**answer, "next": steps}, _blocks(report, steps))
    return ExitCode.DONE if report.models else ExitCode.NOT_FOUND


def _tell(session: Session) -> Callable[[str], None]:
    """Says what is being done, to people at a terminal."""
    return say if not session.json and sys.stderr.isatty() else _nothing


def _nothing(_: str) -> None:
    """What a program is told meanwhile."""


def _tell_daemon(session: Session, folder: Path) -> str | None:
    """Have the daemon read its files again, where it reads this folder.

    Returns:
        An empty text where it did; a sentence about a daemon that is another one; None where none answers.
    """
    try:
        if not _is_here(session.address):
            return f"the daemon at {session.address} may be of another box: it was not told of these files"
        read = session.client.version().get("config_dir")
        if read and not _same(Path(read), folder):
            return f"the daemon at {session.address} reads {read}, and has nothing to do with these files"
        session.client.reload()
    except GpumodError:
        return None
    return ""


def _is_here(address: Address) -> bool:
    """Whether a daemon is on this box, where a folder's name means the same to it."""
    from gpumod.config.settings_checks import is_loopback

    return address.socket is not None or is_loopback(address.host)


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # of another user's, who may see it
        return False


def _next(report: Report, config: Path | None, told: str | None) -> list[str]:
    """The next two commands; `told` as `_tell_daemon` answers."""
    chosen = f" --config {shlex.quote(str(config))}" if config else ""
    again = shlex.join(["gpumodctl", *sys.argv[1:]])
    if not report.models:
        return ["gpumodctl init FOLDER", "gpumodctl doctor"]
    if report.dry_run:
        return [again.replace(" --dry-run", "", 1), f"gpumodctl config check{chosen}"]
    switch = f"gpumodctl switch {report.mode}" if report.mode else "gpumodctl service start PRESET"
    if told:
        return [f"gpumodd --foreground --config {shlex.quote(str(report.config))}", switch]
    if told is None:
        systemd = Path("/run/systemd/system").is_dir()
        start = f"gpumodctl doctor --install-unit{chosen}" if systemd else f"gpumodd --foreground{chosen}"
        return [start, switch]
    return [f"gpumodctl preflight {report.mode}" if report.mode else "gpumodctl status", switch]


# --- for people -----------------------------------------------------------------------------


def _blocks(report: Report, steps: list[str]) -> Iterator[Block]:
    yield from _box(report)
    if report.models:
        yield line("")
        yield _models(report.models)
    if report.skipped:
        yield line("")
        yield from _skipped(report)
    if not report.models:
        yield line("")
        yield from _nowhere(report)
    yield line("")
    yield from _files(report)
    yield from (line(f"Mind: {note}", "warn") for note in report.notes)
    yield line("Next:", "head")
    yield from (line(step, lead=2) for step in steps)


def _box(report: Report) -> Iterator[Block]:
    rows = [
        Row(
            (
                Cell("card", "head"),
                Cell(f"{card.name}, {format_size(card.total)}, {format_size(card.free)} free"),
            )
        )
        for card in report.cards
    ]
    if not rows:
        rows.append(Row((Cell("card", "head"), Cell(f"none: {report.driver}", "bad"))))
    for engine in report.engines:
        text = f"{engine.program}: {engine.version or engine.problem}"
        style = "" if engine.used else "dim"
        rows.append(Row((Cell(engine.kind.value, "head"), Cell(text, style if engine.version else "warn"))))
    if not report.engines:
        rows.append(Row((Cell("engine", "head"), Cell("none was found", "bad"))))
    rows += [Row((Cell("container", "head"), Cell(path, "dim"))) for path in report.containers]
    yield Table((Column(""), Column("", shrinks=True)), tuple(rows))


def _models(models: tuple[Model, ...]) -> Table:
    columns = (
        Column("preset", shrinks=True),
        Column(""),
        Column("task"),
        Column("on disk", right=True),
        Column("context", right=True),
        Column("on cards", right=True),
        Column("with", shrinks=True),
    )
    return Table(columns, tuple(Row(_cells(one)) for one in models))


def _cells(one: Model) -> tuple[Cell, ...]:
    return (
        Cell(one.preset),
        Cell(one.action, _STYLES[one.action]),
        Cell(one.task),
        Cell(format_size(one.size)),
        Cell(str(one.context or "-")),
        Cell(" + ".join(map(format_size, one.cards)) or "-"),
        Cell(one.setting),
    )


def _skipped(report: Report) -> Iterator[Block]:
    yield line("No preset for:", "head")
    yield from (line(f"{one.path}: {one.reason}", "dim", lead=2) for one in report.skipped[:_SHOWN])
    if len(report.skipped) > _SHOWN:
        yield line(f"and {len(report.skipped) - _SHOWN} more: --json lists them", "dim", lead=2)


def _nowhere(report: Report) -> Iterator[Block]:
    yield line("No model was found. Looked in:", "bad")
    for place in report.looked:
        yield line(
            f"{place.path}{'' if place.there else ' (not there)'}", "" if place.there else "dim", lead=2
        )
    yield line(
        "Put GGUF files or Hugging Face checkpoints there, or name their folder: gpumodctl init FOLDER"
    )


def _files(report: Report) -> Iterator[Block]:
    changed = [file for file in report.files if file.text]
    kept = len(report.files) - len(changed)
    would = "would be " if report.dry_run else ""
    yield line(f"{report.config}: {'' if changed else 'nothing to write'}".rstrip(), "head")
    if report.dry_run:
        yield from _texts(changed)
    else:
        presets = [file for file in changed if file.path.parent.name == "presets"]
        for file in changed:
            if file not in presets:
                yield line(
                    f"{file.path.relative_to(report.config)}: {file.action}", _STYLES[file.action], lead=2
                )
        for action, count in Counter(file.action for file in presets).items():
            yield line(f"presets/: {count} {action}", _STYLES[action], lead=2)
    if kept:
        yield line(f"{kept} file{'s' if kept > 1 else ''} {would}left as before", "dim", lead=2)


def _texts(files: Iterable[File]) -> Iterator[Block]:
    for file in files:
        done = "written" if file.action == "new" else "replaced"
        yield line(f"{file.path} would be {done}:", _STYLES[file.action], lead=2)
        yield from (line(text, "dim", lead=4) for text in file.text.splitlines())
