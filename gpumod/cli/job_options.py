"""What the options of `job submit` mean: parameters, instants and times of day."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from datetime import datetime

import typer

from gpumod.cli.command import seconds
from gpumod.core.job import Window


def parameters(given: Iterable[str]) -> dict[str, object]:
    """`name=value` pairs; a value that is JSON is that, anything else is text.

    Raises:
        typer.BadParameter: a pair has no name, or a name is given twice.
    """
    found: dict[str, object] = {}
    for pair in given:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{pair!r} is not NAME=VALUE")
        if name in found:
            raise typer.BadParameter(f"{name!r} is given twice")
        found[name] = _value(text)
    return found


def _value(text: str) -> object:
    try:
        value: object = json.loads(text)
        json.dumps(value, allow_nan=False)  # Python reads infinities, which JSON does not have
    except ValueError:
        return text
    return value


def instant(text: str) -> float:
    """Unix time of `2h` from now, or of `2030-01-31T22:00`, in local time if it has no offset.

    Raises:
        typer.BadParameter: it is neither.
    """
    try:
        return datetime.fromisoformat(text).timestamp() if "-" in text else time.time() + seconds(text)
    except (ValueError, OverflowError, OSError) as error:
        message = f"{text!r} is neither a duration such as 2h nor a time such as 2030-01-31T22:00"
        raise typer.BadParameter(message) from error


def window(text: str, timezone: str) -> Window:
    """`22:00-06:00` as a window.

    Raises:
        typer.BadParameter: it is none.
    """
    start, dash, end = text.partition("-")
    if not dash:
        raise typer.BadParameter(f"{text!r} is not a window such as 22:00-06:00")
    return Window(_minutes(start), _minutes(end), timezone)


def _minutes(text: str) -> int:
    hours, colon, minutes = text.strip().partition(":")
    if colon and hours.isdecimal() and minutes.isdecimal() and len(minutes) == 2:
        found = int(hours) * 60 + int(minutes)
        if int(minutes) < 60 and found <= 24 * 60:
            return found
    raise typer.BadParameter(f"{text!r} is no time of day such as 22:00")
