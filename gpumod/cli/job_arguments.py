"""Arguments and options that commands on jobs share."""

from __future__ import annotations

from typing import Annotated

import typer

from gpumod.cli import job_options
from gpumod.cli.command import seconds
from gpumod.cli.complete import job_names, preset_and_mode_names

JobName = Annotated[str, typer.Argument(metavar="JOB", autocompletion=job_names, help="The job's id.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it has ended, or only queue it.")]
Timeout = Annotated[
    float | None,
    typer.Option(
        parser=seconds, metavar="DURATION", help="Stop waiting after this long. The job itself goes on."
    ),
]
Targets = Annotated[
    list[str],
    typer.Argument(
        metavar="TARGET...", autocompletion=preset_and_mode_names, help="Presets or modes, one after another."
    ),
]
Param = Annotated[
    list[str] | None,
    typer.Option("--param", "-p", metavar="NAME=VALUE", help="A parameter of the suite; VALUE may be JSON."),
]
After = Annotated[
    list[str] | None,
    typer.Option("--after", metavar="JOB", autocompletion=job_names, help="A job that has to be done first."),
]
NotBefore = Annotated[
    float | None,
    typer.Option(
        "--not-before",
        parser=job_options.instant,
        metavar="WHEN",
        help="2h from now, or 2030-01-31T22:00 in local time.",
    ),
]
BeginWindow = Annotated[
    str | None,
    typer.Option("--window", metavar="HH:MM-HH:MM", help="The times of day at which it may begin."),
]
Timezone = Annotated[str, typer.Option(help="The window's time zone, for example Europe/Berlin.")]
