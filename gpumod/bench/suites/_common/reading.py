"""Reads parameters as a person or a program gave them."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from gpumod.bench.meter.sampler import SAMPLERS
from gpumod.core.errors import InvalidRequestError

_DAY = 86400.0


def known(suite: str, given: Collection[str], names: Collection[str]) -> None:
    """Refuse a parameter that there is not.

    Raises:
        InvalidRequestError: there is one.
    """
    if unknown := sorted(set(given) - set(names)):
        raise InvalidRequestError(
            f"the suite {suite} has no parameter {', '.join(unknown)}; it has {', '.join(names)}"
        )


def whole(name: str, value: object, least: int, most: int) -> int:
    """A whole number within its limits.

    Raises:
        InvalidRequestError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidRequestError(f"{name} is a whole number from {least} to {most}, not {value!r}")
    return value


def seconds(name: str, value: object) -> float:
    """More than none, and at most a day.

    Raises:
        InvalidRequestError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _DAY:
        raise InvalidRequestError(f"{name} is a number of seconds above 0, at most a day, not {value!r}")
    return float(value)


def share(name: str, value: object, most: float = 1.0) -> float:
    """A number from 0 to `most`.

    Raises:
        InvalidRequestError: it is none.
    """
    good = not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value)
    if not good or not isinstance(value, int | float) or not 0 <= value <= most:
        raise InvalidRequestError(f"{name}: a number from 0 to {most:g} is needed, not {value!r}")
    return float(value)


def shares(name: str, value: object, most: float = 1.0) -> tuple[float, ...]:
    """Numbers from 0 to `most`, each once.

    Raises:
        InvalidRequestError: it is no list of them.
    """
    if not isinstance(value, list | tuple) or len(value) > 32:
        raise InvalidRequestError(f"{name} is a list of at most 32 numbers, not {value!r}")
    return tuple(dict.fromkeys(share(name, one, most) for one in value))


def sampler(value: object) -> str:
    """A sampler's name.

    Raises:
        InvalidRequestError: there is none of that name.
    """
    if not isinstance(value, str) or value not in SAMPLERS:
        raise InvalidRequestError(f"sampler is one of {', '.join(SAMPLERS)}, not {value!r}")
    return value


def thinking(value: object) -> bool | None:
    """Whether a model is told to think; None leaves it to its template.

    Raises:
        InvalidRequestError: it is neither.
    """
    if value is not None and not isinstance(value, bool):
        raise InvalidRequestError(f"thinking is true, false or null, not {value!r}")
    return value


def merged(suite: str, given: Mapping[str, object], defaults: Mapping[str, object]) -> dict[str, object]:
    """What was given, and the defaults of the rest.

    Raises:
        InvalidRequestError: an unknown parameter.
    """
    known(suite, given, defaults)
    return {**defaults, **given}
