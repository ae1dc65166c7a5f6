"""The suite itself."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final

from gpumod.bench.formulas import AT, metrics
from gpumod.bench.suites.switch.formulas import FORMULAS, MEMORY
from gpumod.bench.suites.switch.numbers import account, of_switch, unavailable
from gpumod.core.errors import GpumodError, InvalidRequestError, NotFoundError, StoreError, UnreachableError
from gpumod.core.job import Metric, Outcome, Sample
from gpumod.core.job_ports import Bench, Case, Endpoint
from gpumod.core.names import BLANK

_DEFAULTS: Final[Mapping[str, object]] = {"other": str(BLANK), "repeats": 5}
_MOST_REPEATS: Final = 1000
_LONGEST_NAME: Final = 200


class Switch:
    """Goes to another mode and back, a number of times."""

    name = "switch"
    version = "1"

    @property
    def content_hash(self) -> str:
        """SHA-256 over its sources."""
        return _content_hash()

    def parameters(self, given: Mapping[str, object]) -> Mapping[str, object]:
        """`other`: the mode to go to; `repeats`: how often, both ways.

        Raises:
            InvalidRequestError: an unknown or a wrong one.
        """
        if unknown := sorted(set(given) - set(_DEFAULTS)):
            known = ", ".join(_DEFAULTS)
            raise InvalidRequestError(f"the suite switch has no parameter {unknown[0]!r}: it has {known}")
        merged = {**_DEFAULTS, **given}
        other, repeats = merged["other"], merged["repeats"]
        if not isinstance(other, str) or not 0 < len(other) <= _LONGEST_NAME:
            raise InvalidRequestError(f"other must be the name of a mode, not {other!r}")
        if isinstance(repeats, bool) or not isinstance(repeats, int) or not 0 < repeats <= _MOST_REPEATS:
            raise InvalidRequestError(
                f"repeats must be a whole number from 1 to {_MOST_REPEATS}, not {repeats!r}"
            )
        return merged

    async def hindrance(self, parameters: Mapping[str, object]) -> str:
        """Nothing: the daemon itself does what is measured."""
        del parameters
        return ""

    def cases(self, parameters: Mapping[str, object], endpoint: Endpoint) -> Sequence[Case]:
        """The repeats.

        Raises:
            InvalidRequestError: the target is where it would go to.
        """
        if parameters["other"] == endpoint.target:
            raise InvalidRequestError(
                f"{endpoint.target} is the target already: `other` must be another mode"
            )
        return [Case(f"repeat-{number:03}", {}) for number in range(1, int(str(parameters["repeats"])) + 1)]

    async def run(self, case: Case, parameters: Mapping[str, object], bench: Bench) -> Sample:
        """There and back once. A refused or failed switch is the outcome `refused`, with the reason.

        Raises:
            NotFoundError: there is no such mode.
            StoreError: the journal cannot be kept.
            UnreachableError: what runs the engines does not answer.
        """
        at, began = bench.clock.now(), bench.clock.monotonic()
        target = bench.endpoint.target
        before = await bench.memory()
        try:
            there, back = await bench.visit(str(parameters["other"]))
        except (NotFoundError, StoreError, UnreachableError):
            raise
        except GpumodError as error:
            seconds = bench.clock.monotonic() - began
            return Sample(target, case.key, Outcome.REFUSED, None, {}, {"error": error.detail}, at, seconds)
        numbers = {
            **of_switch(there, "there"),
            **of_switch(back, "back"),
            **unavailable(there, back),
            **_memory(before, "there"),
            **_memory(await bench.memory(), "back"),
        }
        details = {"there": account(there), "back": account(back)}
        seconds = bench.clock.monotonic() - began
        return Sample(target, case.key, Outcome.OK, None, numbers, details, at, seconds)

    def metrics(self, samples: Sequence[Sample], parameters: Mapping[str, object]) -> tuple[Metric, ...]:
        """All of `FORMULAS` that the samples have numbers for."""
        del parameters
        return metrics(FORMULAS, samples)


def _memory(held: Mapping[str, int], way: str) -> dict[str, float]:
    return {f"{MEMORY.id}{AT}{way}": float(sum(held.values()))} if held else {}


@cache
def _content_hash() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.name}\n{len(content)}\n".encode() + content)
    return digest.hexdigest()
