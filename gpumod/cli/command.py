"""Making commands: every one takes the common options, gets a session, and ends with an exit code."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any, Concatenate, ParamSpec

import typer

from gpumod.cli.outcome import ExitCode, Options
from gpumod.cli.session import Session
from gpumod.core.errors import GpumodError
from gpumod.core.units import parse_duration

P = ParamSpec("P")
_PANEL = "Common options"

Host = Annotated[
    str | None,
    typer.Option(
        "--host", metavar="HOST[:PORT]", help="The daemon's address. $GPUMOD_HOST.", rich_help_panel=_PANEL
    ),
]
Socket = Annotated[
    str | None,
    typer.Option(
        "--socket", metavar="PATH", help="The daemon's Unix socket. $GPUMOD_SOCKET.", rich_help_panel=_PANEL
    ),
]
KeyFile = Annotated[
    str | None,
    typer.Option(
        "--key-file",
        metavar="PATH",
        help="A file that holds the key. $GPUMOD_KEY_FILE.",
        rich_help_panel=_PANEL,
    ),
]
Json = Annotated[
    bool,
    typer.Option("--json", help="Answer with one JSON document, errors included.", rich_help_panel=_PANEL),
]
_COMMON: dict[str, tuple[object, object]] = {
    "json": (Json, False),
    "host": (Host, None),
    "socket": (Socket, None),
    "key_file": (KeyFile, None),
}


def group(help_text: str) -> typer.Typer:
    """A command of several words, such as `mode list`."""
    return typer.Typer(
        help=help_text, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
    )


def command(
    app: typer.Typer, name: str
) -> Callable[[Callable[Concatenate[Session, P], ExitCode]], Callable[Concatenate[Session, P], ExitCode]]:
    """Register a function as a command; its first parameter is the session."""

    def register(
        function: Callable[Concatenate[Session, P], ExitCode],
    ) -> Callable[Concatenate[Session, P], ExitCode]:
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        common = [
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for key, (annotation, default) in _COMMON.items()
        ]
        keyword = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own]

        def run(**given: Any) -> int:
            options = Options(**{key: given.pop(key) for key in _COMMON})
            with Session(options) as session:
                try:
                    return int(function(session, **given))  # type: ignore[call-arg]
                except GpumodError as error:
                    return int(session.fail(error))

        run.__signature__ = inspect.Signature([*keyword, *common], return_annotation=int)  # type: ignore[attr-defined]
        run.__doc__ = function.__doc__
        app.command(name)(run)
        return function

    return register


def seconds(text: str) -> float:
    """A duration of the command line: `30s`, `10m`, or a plain number of seconds."""
    try:
        found = float(text) if text.replace(".", "", 1).isdigit() else parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if found <= 0:
        raise typer.BadParameter(f"{text!r} is no time at all")
    return found


Timeout = Annotated[
    float | None,
    typer.Option(
        parser=seconds,
        metavar="DURATION",
        help="Stop waiting after this long, e.g. 90s or 10m. The switch itself goes on.",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Go past leases.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it has ended, or only begin it.")]
