"""Paths into a document of plain values: `a.b[0].c`, `["any key"]`, `[-1]`, and `*` for each of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_STEP: Final = re.compile(
    r"""\.?(?P<name>[A-Za-z_$][\w$-]*) | \.?(?P<each>\*|\[\*\]) | \[(?P<index>-?\d{1,9})\] |
    \[(?P<quoted>"(?:[^"\\]|\\.)*")\]""",
    re.VERBOSE,
)
_MOST_STEPS: Final = 32

Step = str | int | None
"""A key, an index, or None for each."""


@dataclass(frozen=True, slots=True)
class Place:
    """A value within a document.

    Args:
        keys: what `*` stood for on the way, outermost first.
    """

    value: object
    keys: tuple[str, ...] = ()


def steps_of(path: str) -> tuple[Step, ...]:
    """The steps of a path; an empty one has none and means the whole.

    Raises:
        ValueError: it is no path.
    """
    steps: list[Step] = []
    at = 0
    while at < len(path):
        match = _STEP.match(path, at)
        if match is None or (at == 0 and path.startswith(".")):
            raise ValueError(f"{path!r} is no path: it is not understood from {path[at:]!r} on")
        if match["name"] is not None:
            steps.append(match["name"])
        elif match["index"] is not None:
            steps.append(int(match["index"]))
        elif match["quoted"] is not None:
            steps.append(str(json.loads(match["quoted"])))
        else:
            steps.append(None)
        at = match.end()
    if len(steps) > _MOST_STEPS:
        raise ValueError(f"a path has at most {_MOST_STEPS} steps")
    return tuple(steps)


def find(value: object, path: str) -> Iterator[Place]:
    """Every value that a path leads to; none where something on the way is not there.

    Raises:
        ValueError: it is no path.
    """
    places: Iterator[Place] = iter((Place(value),))
    for step in steps_of(path):
        places = _after(places, step)
    yield from places


def _after(places: Iterator[Place], step: Step) -> Iterator[Place]:
    for place in places:
        here = place.value
        if step is None:
            if isinstance(here, dict):
                pairs = list(here.items())
            else:
                pairs = list(enumerate(here)) if isinstance(here, list) else []
            yield from (Place(inner, (*place.keys, str(key))) for key, inner in pairs)
        elif isinstance(step, int):
            if isinstance(here, list) and -len(here) <= step < len(here):
                yield Place(here[step], place.keys)
        elif isinstance(here, dict) and step in here:
            yield Place(here[step], place.keys)


def number_of(value: object) -> float | None:
    """A number, a truth value as 1 or 0, or a text that is a finite number; None for anything else."""
    if isinstance(value, bool | int | float | str):
        try:
            found = float(value)
        except (ValueError, OverflowError):
            return None
        return found if found - found == 0 else None
    return None


def word_of(value: object) -> str:
    """A value as a part of a key."""
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, str | int | float) else json.dumps(value, sort_keys=True)
