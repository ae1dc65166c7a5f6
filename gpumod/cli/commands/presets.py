"""`preset list`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from gpumod.cli.command import command, group
from gpumod.cli.layout import Block, Cell, Column, Row, Table, line
from gpumod.cli.outcome import ExitCode
from gpumod.cli.session import Session

if TYPE_CHECKING:
    from collections.abc import Collection

    from gpumod.core.spec import ServiceSpec


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    presets = group("How models are run: what services and modes are made of.")
    command(presets, "list")(list_presets)
    app.add_typer(presets, name="preset")


def list_presets(session: Session) -> ExitCode:
    """List the presets in use, and the names of the shipped ones that nothing names yet."""
    presets = session.client.presets()
    columns = (Column("preset"), Column("engine"), Column("model", shrinks=True))
    blocks: list[Block] = [Table(columns, tuple(map(_row, presets))) if presets else line("none is in use")]
    if idle := _idle({preset.preset for preset in presets}):
        blocks.append(line(f"shipped, in use once a mode names them: {', '.join(idle)}", "dim"))
    return session.emit(presets, blocks)


def _row(preset: ServiceSpec) -> Row:
    model = (preset.model or "-").rsplit("/", 1)[-1]
    return Row((Cell(preset.preset), Cell(preset.engine), Cell(model)))


def _idle(used: Collection[str]) -> list[str]:
    from gpumod.config.sources import shipped_files

    return sorted(shipped_files("presets").keys() - set(used))
