"""All commands put together, and what happens when they are mistyped."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from gpumod import __version__
from gpumod.cli.commands import (
    bench,
    boxes,
    config,
    events,
    jobs,
    leases,
    modes,
    presets,
    services,
    switching,
)
from gpumod.cli.commands import doctor as doctor_command
from gpumod.cli.commands import init as init_command
from gpumod.cli.outcome import ExitCode, print_json, report, say
from gpumod.core.errors import InvalidRequestError

_EPILOG = (
    "Exit codes: 0 done, 1 failed, 2 usage, 3 refused, 4 no daemon, 5 not found, 6 timed out, 7 not allowed."
)

app = typer.Typer(
    name="gpumodctl",
    help="See and change what a box with GPUs serves.",
    epilog=_EPILOG,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_COMMANDS = (
    boxes,
    switching,
    modes,
    presets,
    services,
    leases,
    jobs,
    bench,
    events,
    config,
    init_command,
    doctor_command,
)
for room in _COMMANDS:
    room.add_to(app)


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version; with --json as a document.")
    ] = False,
) -> None:
    del version  # answered before the arguments are read


def run(args: Sequence[str]) -> int:
    """Run a command; its exit code."""
    ordered = _common_last(args)
    if ordered[:1] == ["--version"]:
        return _print_version(as_json="--json" in args)
    try:
        result = app(args=ordered, prog_name="gpumodctl", standalone_mode=False)
    except typer.TyperException as error:
        return _usage(error, as_json="--json" in args)
    except typer.Abort:
        return ExitCode.INTERRUPTED
    return result if isinstance(result, int) else ExitCode.DONE


def _print_version(*, as_json: bool) -> ExitCode:
    if as_json:
        print_json({"version": __version__})
    else:
        sys.stdout.write(f"gpumodctl {__version__}\n")
    return ExitCode.DONE


def _common_last(args: Sequence[str]) -> list[str]:
    """Common options before the command work like those behind it."""
    rest, moved = list(args), []
    while rest and (name := rest[0].partition("=")[0]) in {"--json", "--host", "--socket", "--key-file"}:
        takes_value = name != "--json" and "=" not in rest[0]
        moved += rest[: 2 if takes_value else 1]
        rest = rest[2 if takes_value else 1 :]
    if rest[:1] and rest[0].startswith("-"):
        return rest  # --help or --version, which need none of them
    end = next((place for place, one in enumerate(rest) if one.startswith("-")), len(rest))
    return [*rest[:end], *moved, *rest[end:]]


def _usage(error: typer.TyperException, *, as_json: bool) -> int:
    """Say what is wrong with a command line. Help that was printed for want of a command is no answer."""
    message = error.format_message().replace(": Value error, ", ": ", 1)
    path = getattr(getattr(error, "ctx", None), "command_path", "gpumodctl")
    if as_json:
        return report(InvalidRequestError(message or "no command was given"), as_json=True)
    if message:
        say(f"{path}: {message}\nTry `{path} --help`.")
    return ExitCode.USAGE
