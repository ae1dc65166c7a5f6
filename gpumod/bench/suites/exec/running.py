"""One run of a harness on a target, as a sample."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gpumod.bench.suites.exec import environment as around
from gpumod.bench.suites.exec.options import option_values, variables, words
from gpumod.bench.suites.exec.parsing import Found, parse
from gpumod.bench.suites.exec.process import Run, run
from gpumod.bench.suites.exec.recipe import Recipe
from gpumod.bench.suites.exec.recipe_file import RecipeFile
from gpumod.core.errors import GpumodError, NotFoundError
from gpumod.core.job import Outcome, Sample
from gpumod.core.job_ports import Bench, Endpoint
from gpumod.core.names import BLANK

_VERSION_WITHIN: Final = 120.0
"""Seconds: some harnesses import a great deal before they say their version."""
_LONGEST_VERSION: Final = 200
_LONGEST_TAIL: Final = 4000


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be run.

    Args:
        options: as the job gives them.
        seconds: how long it may take.
        user: whom it runs as; None is the daemon's own user.
    """

    recipe: Recipe
    options: object
    seconds: float
    user: str | None = None


async def sample_of(order: Order, case: str, bench: Bench) -> Sample:
    """Run the harness once, with the target stopped where it loads the model itself.

    Raises:
        GpumodError: it cannot be run at all, or the box could not be moved for it.
    """
    taken: list[Sample] = []

    async def measure() -> None:
        taken.append(await _measured(order, case, bench))

    if order.recipe.file.against == "model":
        await bench.visit(BLANK, measure)
    else:
        await measure()
    return taken[0]


def values_of(recipe: RecipeFile, options: object, endpoint: Endpoint, output: str) -> dict[str, str]:
    """Everything that a placeholder may stand for, as far as it is known.

    Raises:
        InvalidRequestError: an option does not fit.
    """
    known: dict[str, object] = {
        "url": endpoint.url,
        "model": endpoint.model,
        "model_file": endpoint.files[0] if endpoint.files else None,
        "context": endpoint.context,
        "slots": endpoint.slots,
        "cards": ",".join(endpoint.cards),
        "output": output,
        **option_values(recipe, options),
    }
    return {name: str(value) for name, value in known.items() if value is not None}


async def _measured(order: Order, case: str, bench: Bench) -> Sample:
    with ExitStack() as stack:
        folder = stack.enter_context(around.working_folder(order.user))
        return await _in_folder(order, case, bench, folder)


async def _in_folder(order: Order, case: str, bench: Bench, folder: Path) -> Sample:
    file = order.recipe.file
    values = values_of(file, order.options, bench.endpoint, str(folder / around.OUTPUT))
    base = around.base(file, order.user)
    path = around.program(file, base)
    if path is None:
        raise NotFoundError(f"{file.argv[0]} was not found: {file.install}")
    command = [path, *words(file, values)[1:]]
    environment = {**base, "TMPDIR": around.temporary(folder), **variables(file, values)}
    version = await _version(order, environment, folder)
    at, began = bench.clock.now(), bench.clock.monotonic()
    try:
        done = await run(command, environment, folder, order.seconds, order.user)
    except OSError as error:
        raise GpumodError(f"{path} cannot be run: {error.strerror or error}") from error
    seconds = bench.clock.monotonic() - began
    found = await asyncio.to_thread(parse, order.recipe, folder, done.output) if done.status == 0 else Found()
    errors = around.without_values(done.errors, file, environment)
    details: dict[str, object] = {
        "recipe": order.recipe.name,
        "version": version or around.without_values(found.version, file, environment),
        "command": command,
        "variables": sorted({*file.env, *file.inherit} & environment.keys()),
        "status": done.status,
        "errors": errors[-_LONGEST_TAIL:],
        "notes": found.notes + (["the standard output was longer than what is kept"] if done.cut else []),
        "cases": found.cases,
    }
    target = bench.endpoint.target
    return Sample(
        target, case, _outcome(done, found), None, dict(found.numbers), details, at=at, seconds=seconds
    )


def _outcome(done: Run, found: Found) -> Outcome:
    if done.status is None:
        return Outcome.TIMEOUT
    if done.status != 0:
        return Outcome.WRONG
    return Outcome.OK if found else Outcome.EMPTY


async def _version(order: Order, environment: Mapping[str, str], folder: Path) -> str:
    """The first line of what the harness says of its version; empty where it says nothing."""
    file = order.recipe.file
    if not file.version_argv:
        return ""
    try:
        done = await run(file.version_argv, environment, folder, _VERSION_WITHIN, order.user)
    except OSError:
        return ""
    said = done.output.decode(errors="replace") + "\n" + done.errors
    lines = [line.strip() for line in said.splitlines() if line.strip()] if done.status == 0 else []
    return around.without_values(lines[0], file, environment)[:_LONGEST_VERSION] if lines else ""
