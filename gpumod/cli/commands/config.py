"""`config check|schema|reload`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gpumod.cli.command import command, group
from gpumod.cli.layout import Block, line
from gpumod.cli.outcome import ExitCode, print_json
from gpumod.cli.session import Session
from gpumod.core.errors import NotFoundError
from gpumod.core.spec import Catalog, Problem

ConfigFolder = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="DIR", help="The folder with config.yaml, presets/ and modes/. $GPUMOD_CONFIG."
    ),
]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    config = group("The files that you write.")
    command(config, "check")(check)
    command(config, "schema")(schema)
    command(config, "reload")(reload)
    app.add_typer(config, name="config")


def check(session: Session, config: ConfigFolder = None) -> ExitCode:
    """Check every file and tell everything that is wrong. Works without a daemon."""
    from gpumod.config.catalog import check_files
    from gpumod.config.problems import config_error

    settings, catalog, problems = check_files(config)
    if settings is None or any(not problem.warning for problem in problems):
        raise config_error(problems)
    folder = settings.config_dir
    missing = "" if folder.is_dir() else " (there is no such folder yet: the defaults hold)"
    found = f"{folder}{missing}: {_amount(catalog)}, no mistakes"
    return session.emit(
        {"ok": True, "config": str(folder), "problems": list(problems)},
        [*(_problem(problem) for problem in problems), line(found, "good")],
    )


def _problem(problem: Problem) -> Block:
    from gpumod.config.problems import describe

    return line(describe(problem), "warn" if problem.warning else "bad")


def schema(
    session: Session,
    kind: Annotated[
        str | None, typer.Argument(metavar="[preset|mode|config]", help="Of one kind of file.")
    ] = None,
) -> ExitCode:
    """Print the JSON Schema of the files, for editors. Works without a daemon."""
    from gpumod.config.schema import json_schema

    del session  # its answer is JSON for everybody
    schemas = json_schema()
    if kind is not None and kind not in schemas:
        raise NotFoundError(f"no schema of {kind!r}: there are those of {', '.join(schemas)}")
    print_json(schemas if kind is None else schemas[kind])
    return ExitCode.DONE


def reload(session: Session) -> ExitCode:
    """Have the daemon read its files again; running services are not touched. Exits with 1 on mistakes."""
    catalog = session.client.reload()
    well = not catalog.disabled and all(problem.warning for problem in catalog.problems)
    summary = line(_summary(catalog), "good" if well else "bad")
    session.emit(catalog, [*(_problem(one) for one in catalog.problems), summary])
    return ExitCode.DONE if well else ExitCode.FAILED


def _summary(catalog: Catalog) -> str:
    disabled = f", {len(catalog.disabled)} disabled" if catalog.disabled else ""
    return f"read again: {_amount(catalog)}{disabled}"


def _amount(catalog: Catalog) -> str:
    """How many files are in use; `blank` is in none."""
    presets, modes = len(catalog.presets), len(catalog.modes) - 1
    return f"{presets} preset{'s' * (presets != 1)} and {modes} mode{'s' * (modes != 1)} besides blank"
