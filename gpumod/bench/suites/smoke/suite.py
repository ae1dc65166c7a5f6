"""The suite `smoke`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from gpumod.bench.suites.coding.attempt import (
    DEFAULTS,
    attempt,
    check_parameters,
    content_hash,
    hindrance,
    level_of,
)
from gpumod.bench.suites.coding.suite import share
from gpumod.bench.suites.smoke.formulas import PASSED
from gpumod.core.job import Metric, Outcome, Sample
from gpumod.core.job_ports import Bench, Case, Endpoint

VERSION: Final = "1"
_DEFAULTS: Final[Mapping[str, object]] = {"level": "queue", "attempts": 10, **DEFAULTS}


class SmokeSuite:
    """A quick look at whether a model and its settings work at all."""

    @property
    def name(self) -> str:
        """As in `job submit --suite`."""
        return "smoke"

    @property
    def version(self) -> str:
        """Grows with every change that changes scores."""
        return VERSION

    @property
    def content_hash(self) -> str:
        """SHA-256 over the levels of `coding`, and this suite's code."""
        return content_hash(Path(__file__).resolve().parent)

    def parameters(self, given: Mapping[str, object]) -> Mapping[str, object]:
        """The parameters with every default filled in.

        Raises:
            InvalidRequestError: an unknown or a wrong one.
        """
        merged = check_parameters(self.name, given, _DEFAULTS, "attempts")
        level_of(merged["level"])
        return merged

    async def hindrance(self, parameters: Mapping[str, object]) -> str:
        """Why there is no sandbox on this machine; empty where there is one."""
        del parameters
        return await hindrance()

    def cases(self, parameters: Mapping[str, object], endpoint: Endpoint) -> Sequence[Case]:
        """The attempts."""
        del endpoint
        level, count = str(parameters["level"]), int(str(parameters["attempts"]))
        return [Case(f"{level}/{number:03}", {"level": level}) for number in range(1, count + 1)]

    async def run(self, case: Case, parameters: Mapping[str, object], bench: Bench) -> Sample:
        """Ask, and grade.

        Raises:
            NoSandboxError: this box has no sandbox.
        """
        return await attempt(level_of(case.data["level"]), case, parameters, bench)

    def metrics(self, samples: Sequence[Sample], parameters: Mapping[str, object]) -> tuple[Metric, ...]:
        """The share of attempts that passed every hidden test, with Wilson's interval."""
        del parameters
        passed = {one.case: float(one.outcome is Outcome.OK) for one in samples if one.score is not None}
        return (share(PASSED, passed),)
