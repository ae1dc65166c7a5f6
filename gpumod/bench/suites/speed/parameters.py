"""The parameters of `speed`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Final

from gpumod.bench.meter.sampler import GREEDY, SAMPLERS
from gpumod.core.errors import InvalidRequestError

_MOST: Final = 10_000_000


@dataclass(frozen=True, slots=True)
class Parameters:
    """What is measured.

    Args:
        depths: prompts of so many tokens, roughly; those that do not fit the context are left out, and
            the samples say so.
        concurrency: so many requests at once; more than the target has slots are left out, since they
            would measure its queue.
        together_depth: tokens of the prompts of requests at once.
        tokens: to generate.
        repeats: of everything. Of 12 pairs on which all agree, p is 2 of 2**12: that stands beside a hundred
            other tests. Five cannot show anything.
        sampler: by its name.
        timeout: seconds for one request.
    """

    depths: tuple[int, ...] = (512, 4096, 16384)
    concurrency: tuple[int, ...] = (2, 4, 8, 16)
    together_depth: int = 512
    tokens: int = 128
    repeats: int = 12
    sampler: str = GREEDY.name
    timeout: float = 900.0

    def document(self) -> dict[str, object]:
        """As JSON has it."""
        return asdict(self) | {"depths": list(self.depths), "concurrency": list(self.concurrency)}


def read(given: Mapping[str, object]) -> Parameters:
    """The parameters with their defaults.

    Raises:
        InvalidRequestError: an unknown or a wrong one.
    """
    known = [one.name for one in fields(Parameters)]
    if unknown := sorted(set(given) - set(known)):
        raise InvalidRequestError(
            f"the suite speed has no parameter {', '.join(unknown)}; it has {', '.join(known)}"
        )
    default = Parameters()
    sampler = given.get("sampler", default.sampler)
    if not isinstance(sampler, str) or sampler not in SAMPLERS:
        raise InvalidRequestError(f"sampler is one of {', '.join(SAMPLERS)}, not {sampler!r}")
    timeout = given.get("timeout", default.timeout)
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout < _MOST:
        raise InvalidRequestError(f"timeout is a number of seconds above 0, not {timeout!r}")
    return Parameters(
        depths=_counts(given, "depths", default.depths),
        concurrency=_counts(given, "concurrency", default.concurrency),
        together_depth=_count("together_depth", given.get("together_depth", default.together_depth)),
        tokens=_count("tokens", given.get("tokens", default.tokens), least=2),
        repeats=_count("repeats", given.get("repeats", default.repeats)),
        sampler=sampler,
        timeout=float(timeout),
    )


def _counts(given: Mapping[str, object], name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    values = given.get(name, default)
    if not isinstance(values, list | tuple):
        raise InvalidRequestError(f"{name} is a list of whole numbers, not {values!r}")
    return tuple(dict.fromkeys(_count(name, value) for value in values))


def _count(name: str, value: object, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _MOST:
        raise InvalidRequestError(f"{name}: a whole number from {least} is needed, not {value!r}")
    return value
