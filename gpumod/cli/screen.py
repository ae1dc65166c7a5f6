"""Writing to stdout: plain text into a pipe, colours on a terminal."""

import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from gpumod.cli.layout import Block, Line, lay_out, plain

if TYPE_CHECKING:
    from rich.text import Text

_STYLES: Final = {
    "good": "green",
    "warn": "yellow",
    "bad": "bold red",
    "dim": "dim",
    "head": "bold",
    "ours": "cyan",
    "foreign": "magenta",
    "headroom": "dim",
}


def show(blocks: Iterable[Block]) -> None:
    """Write blocks to stdout, as wide as the terminal, or without a limit into a pipe."""
    if not sys.stdout.isatty():
        sys.stdout.write(plain(lay_out(blocks, None, unicode=_unicode())))
        return
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    for line in lay_out(blocks, terminal_width(), unicode=_unicode()):
        console.print(styled(line))


def styled(line: Line) -> "Text":
    """A laid-out line as rich prints it."""
    from rich.text import Text

    return Text.assemble(*((text, _STYLES.get(style, "")) for text, style in line))


def terminal_width() -> int:
    """Columns of the terminal; `$COLUMNS` has the last word."""
    import shutil

    return max(shutil.get_terminal_size((80, 24)).columns, 40)


def _unicode() -> bool:
    """Whether stdout can show more than ASCII."""
    return (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf8") and os.environ.get(
        "TERM"
    ) != "linux"
