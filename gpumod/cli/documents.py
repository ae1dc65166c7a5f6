"""Documents that commands write: to stdout, or into a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from gpumod.cli.outcome import ExitCode, printable
from gpumod.core.errors import InvalidRequestError

Output = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it there instead of on stdout.")
]


def write(text: str, output: Path | None) -> ExitCode:
    """Write a document to a file, or to stdout.

    Raises:
        InvalidRequestError: the file cannot be written.
    """
    if output is None:
        sys.stdout.write(printable(text if text.endswith("\n") else text + "\n"))
        return ExitCode.DONE
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidRequestError(f"{output} cannot be written: {error}") from error
    return ExitCode.DONE
