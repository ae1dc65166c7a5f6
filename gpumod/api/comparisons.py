"""The route that compares results."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import APIRouter
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import PydanticCustomError
from starlette.responses import Response

from gpumod.api.bodies import NAME, Body
from gpumod.api.context import Ctx, answer
from gpumod.api.document import changing
from gpumod.bench import comparison
from gpumod.core.comparison import ComparisonReport
from gpumod.core.errors import InvalidRequestError, NotFoundError
from gpumod.core.job import JobId, Result
from gpumod.core.spec import Mode

router = APIRouter(tags=["jobs"])

_MOST_RESULTS: Final = 1000
"""More than a job can have targets."""
_MOST: Final = 64
_FAR: Final = 1e11
"""An instant beyond this is none."""
_one = asyncio.Semaphore(1)
"""Resampling takes a core for seconds: one comparison at a time leaves the others to the daemon."""


def _writable(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    return value


_REF: Final = rf"{NAME[:-1]}(/{NAME[1:-1]})?$"


def _comparable(value: object) -> object:
    """What is neither a result nor the name of one is one mistake, not one for each alternative."""
    if isinstance(value, dict) or (isinstance(value, str) and re.fullmatch(_REF, value)):
        return value
    shown = f"{value!r:.200}" if isinstance(value, str) else "this"
    raise PydanticCustomError("no_result", "{shown} is no JOB, no JOB/TARGET and no result", {"shown": shown})


_Ref = Annotated[str, Field(pattern=_REF)]
_Given = Annotated[dict[str, JsonValue], AfterValidator(_writable)]


class ComparisonBody(Body):
    """What to compare; the first result of each suite is what the others are compared with."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"results": ["JOB/gemma-a", "JOB/gemma-b"]}]})

    results: Annotated[
        list[Annotated[_Ref | _Given, BeforeValidator(_comparable)]],
        Field(
            max_length=_MOST,
            description="`JOB`, all results of a job; `JOB/TARGET`, one of them; or a result itself, such as "
            "another box's, as `GET results` has it.",
        ),
    ]


@dataclass(frozen=True)
class ComparisonAnswer(ComparisonReport):
    """A comparison, and the same as Markdown, ready to paste."""

    markdown: str = ""


@router.post("/comparisons", responses=changing(ComparisonAnswer, 404))
async def compare(ctx: Ctx, body: ComparisonBody) -> Response:
    """Put results side by side: what they differ in and what that shows. Changes nothing."""
    found: list[Result] = []
    strangers = any(not isinstance(one, str) for one in body.results)
    for one in body.results:
        found += await _kept(ctx, one) if isinstance(one, str) else [_result(one)]
    if len(found) < 2:
        raise InvalidRequestError(f"two results at least are needed to compare, not {len(found)}")
    modes = ctx.deps.switching.catalog().modes
    return answer(
        await ctx.read(_in_turn(found, modes, strangers=strangers), within=ctx.deps.limits.planning)
    )


async def _in_turn(results: list[Result], modes: tuple[Mode, ...], *, strangers: bool) -> ComparisonAnswer:
    try:
        async with _one:
            return await asyncio.to_thread(_compared, results, modes)
    except (ArithmeticError, TypeError, ValueError) as error:
        if not strangers:
            raise
        # Numbers of others may be anything that JSON can say.
        raise InvalidRequestError(f"these results cannot be compared: {error}") from error


def _compared(results: list[Result], modes: tuple[Mode, ...]) -> ComparisonAnswer:
    made = comparison.report(results, modes)
    return ComparisonAnswer(made.comparisons, made.recommendations, comparison.markdown(made))


async def _kept(ctx: Ctx, name: str) -> list[Result]:
    job, _, target = name.partition("/")
    results = await ctx.read(ctx.deps.jobs.results(JobId(job), target=target, limit=_MOST_RESULTS))
    if not results:
        what = f"result of {target}" if target else "result"
        raise NotFoundError(f"job {job} has no {what} yet", {"job": job, "target": target})
    order = (await ctx.read(ctx.deps.jobs.job(JobId(job)))).request.targets
    return sorted(results, key=lambda one: order.index(one.target) if one.target in order else len(order))


def _result(value: object) -> Result:
    try:
        found = TypeAdapter(Result).validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise InvalidRequestError(f"this is no result: {where}: {first['msg']}") from error
    if not all(0 <= one <= _FAR for one in (found.started, found.ended)):
        raise InvalidRequestError("this is no result: `started` and `ended` are Unix times in seconds")
    return found
