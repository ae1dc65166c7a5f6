"""The suite `exec` itself."""

from __future__ import annotations

import asyncio
import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from gpumod.bench.formulas import AT, Formula, share
from gpumod.bench.formulas import metrics as pooled
from gpumod.bench.statistics import mean_interval
from gpumod.bench.suites.exec import environment as around
from gpumod.bench.suites.exec.leftovers import sweep
from gpumod.bench.suites.exec.options import option_values
from gpumod.bench.suites.exec.recipe import Recipe, chosen, recipes_with
from gpumod.bench.suites.exec.running import Order, sample_of
from gpumod.core.errors import InvalidRequestError
from gpumod.core.job import Metric, Sample
from gpumod.core.job_ports import Bench, Case, Endpoint
from gpumod.engines.identity import identity

VERSION: Final = "1"
_KNOWN: Final = ("recipe", "options", "repeats", "timeout")
_MOST_REPEATS: Final = 100
_LONGEST: Final = 7 * 86400.0


class ExecSuite:
    """Runs what a recipe says.

    Args:
        own: a folder with recipes of the user's own.
        user: whom harnesses run as; None is the daemon's own user.
    """

    def __init__(self, own: Path | None = None, user: str | None = None) -> None:
        self._own = own
        self._user = user

    @property
    def name(self) -> str:
        """As in `job submit --suite`."""
        return "exec"

    @property
    def version(self) -> str:
        """Grows with every change of how harnesses are run; recipes have versions of their own."""
        return VERSION

    @property
    def content_hash(self) -> str:
        """SHA-256 over this suite's code. The recipe's hash is in the parameters."""
        digest = hashlib.sha256()
        for path in sorted(Path(__file__).resolve().parent.glob("*.py")):
            content = path.read_bytes()
            digest.update(f"{path.name}\n{len(content)}\n".encode() + content)
        return digest.hexdigest()

    def parameters(self, given: Mapping[str, object]) -> Mapping[str, object]:
        """The parameters with every default filled in.

        The recipe becomes `NAME@HASH`: a job that resumes after the file was changed is refused.

        Raises:
            InvalidRequestError: an unknown or a wrong one.
            ConfigError: a recipe's file is wrong.
        """
        if unknown := [one for one in given if one not in _KNOWN]:
            raise InvalidRequestError(
                f"the suite exec has no parameter {unknown[0]!r}: it has {', '.join(_KNOWN)}"
            )
        recipe = self._recipe(given)
        repeats, timeout = given.get("repeats", 1), given.get("timeout", recipe.file.timeout)
        if not isinstance(repeats, int) or isinstance(repeats, bool) or not 1 <= repeats <= _MOST_REPEATS:
            raise InvalidRequestError(
                f"repeats must be a whole number, 1 to {_MOST_REPEATS}, not {repeats!r}"
            )
        if not isinstance(timeout, int | float) or isinstance(timeout, bool) or not 0 < timeout <= _LONGEST:
            raise InvalidRequestError(
                f"timeout must be seconds, more than 0 and at most a week, not {timeout!r}"
            )
        return {
            "recipe": recipe.name,
            "options": option_values(recipe.file, given.get("options", {})),
            "repeats": repeats,
            "timeout": float(timeout),
        }

    async def hindrance(self, parameters: Mapping[str, object]) -> str:
        """Why the harness cannot run here; empty where it can.

        What a killed daemon left is ended here, since this is asked before the box is changed.
        """
        await asyncio.to_thread(sweep)
        file = self._recipe(parameters).file
        if file.runs_model_code and not file.trusted:
            return (
                f"the recipe {file.recipe} executes what the model wrote, outside of the sandbox: to let it, "
                f"copy it to recipes/{file.recipe}.yaml beside config.yaml and say `trusted: true` in it"
            )
        if file.runs_model_code and os.geteuid() == 0 and not identity(self._user):
            return f"the recipe {file.recipe} executes what the model wrote, and would do so as root"
        missing = around.missing(file, around.base(file, self._user))
        return f"{missing} was not found: {file.install}" if missing else ""

    def cases(self, parameters: Mapping[str, object], endpoint: Endpoint) -> Sequence[Case]:
        """The runs."""
        del endpoint
        count = int(str(parameters["repeats"]))
        return [Case(f"run/{number:03}", {}) for number in range(1, count + 1)]

    async def run(self, case: Case, parameters: Mapping[str, object], bench: Bench) -> Sample:
        """Run the harness, and read its numbers.

        Raises:
            GpumodError: it cannot be run at all, or the box could not be moved for it.
        """
        if hindrance := await self.hindrance(parameters):
            raise InvalidRequestError(hindrance)
        seconds = float(str(parameters["timeout"]))
        order = Order(self._recipe(parameters), parameters["options"], seconds, self._user)
        return await sample_of(order, case.key, bench)

    def metrics(self, samples: Sequence[Sample], parameters: Mapping[str, object]) -> tuple[Metric, ...]:
        """What the recipe says the harness measures; those with cases by case."""
        recipe = self._recipe(parameters)
        found: list[Metric] = []
        for formula, file in recipe.metrics():
            if file.key:
                found += _by_case(formula, samples, pooling=file.pooling)
            else:
                found += pooled([formula], samples)
        return tuple(found)

    def _recipe(self, parameters: Mapping[str, object]) -> Recipe:
        recipes = recipes_with(self._own)
        if "recipe" not in parameters:
            raise InvalidRequestError(f"recipe is needed: there are {', '.join(recipes)}")
        return chosen(parameters["recipe"], recipes)


def _by_case(formula: Formula, samples: Sequence[Sample], *, pooling: str) -> list[Metric]:
    """The metrics of a formula with cases, one for each setting. With several runs, a case is of one run."""
    found: dict[str, dict[str, float]] = {}
    for sample in samples:
        cases = sample.details.get("cases")
        for full, values in cases.items() if isinstance(cases, Mapping) else ():
            if full.partition(AT)[0] == formula.id:
                suffix = "" if len(samples) == 1 else f"/{sample.case}"
                found.setdefault(full, {}).update({f"{key}{suffix}": one for key, one in values.items()})
    return [_pooled(full, values, formula, pooling) for full, values in found.items()]


def _pooled(full: str, values: Mapping[str, float], formula: Formula, pooling: str) -> Metric:
    numbers = list(values.values())
    interval = share(numbers) if pooling == "share" else mean_interval(numbers)
    return Metric(
        full,
        interval.value,
        formula.unit,
        interval.low if math.isfinite(interval.low) else None,
        interval.high if math.isfinite(interval.high) else None,
        len(numbers),
        formula.larger_is_better,
        values,
    )
