"""Routes on benchmark jobs and on what they found out."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from gpumod.access.rules import API
from gpumod.api.bodies import NAME, Name, Nothing
from gpumod.api.context import Answer, Ctx, answer
from gpumod.api.document import changing, queueing, reading
from gpumod.api.idempotency import OnceOnly
from gpumod.api.job_bodies import JobAnswer, JobBody, RetryBody
from gpumod.core.job import JobId, JobRecord, JobState, Result, Sample

router = APIRouter(tags=["jobs"])
Id = Annotated[str, Path(pattern=NAME)]


@router.post("/jobs", status_code=202, responses=queueing(JobAnswer))
async def submit(ctx: Ctx, once: OnceOnly, body: JobBody) -> Response:
    """Queue a job: a suite is run on each target, and the box is put back afterwards."""
    request = replace(
        body.request(once.by), after=body.needed, not_before=body.not_before, dedupe=body.dedupe
    )

    async def effect() -> Answer:
        return _queued(await ctx.act(ctx.deps.jobs.submit(request)))

    return await once(body, effect)


class ListQuery(BaseModel):
    """Which ones, and how many."""

    model_config = ConfigDict(extra="forbid")

    state: Annotated[list[JobState], Field(max_length=8, description="Any of these; all by default.")] = []
    limit: Annotated[int, Field(ge=1, le=1000)] = 50


@router.get("/jobs", responses=reading(tuple[JobAnswer, ...]))
async def jobs(ctx: Ctx, query: Annotated[ListQuery, Query()]) -> Response:
    """The latest jobs, newest first."""
    found = await ctx.read(ctx.deps.jobs.jobs(frozenset(query.state), query.limit))
    return answer([_shown(one) for one in found])


@router.get("/jobs/{id}", responses=reading(JobAnswer, 404))
async def job(ctx: Ctx, id: Id) -> Response:
    """One job: how far it is, and how long it still takes."""
    return answer(_shown(await ctx.read(ctx.deps.jobs.job(JobId(id)))))


@router.post("/jobs/{id}/cancel", responses=changing(JobAnswer, 404))
async def cancel(ctx: Ctx, once: OnceOnly, id: Id, body: Nothing) -> Response:
    """Cancel a job; one that runs puts the box back first, one that has ended is left. Answers at once."""

    async def effect() -> Answer:
        return Answer(200, _shown(await ctx.act(ctx.deps.jobs.cancel(JobId(id), once.by))))

    return await once(body, effect)


@router.post("/jobs/{id}/retry", status_code=202, responses=queueing(JobAnswer))
async def retry(ctx: Ctx, once: OnceOnly, id: Id, body: RetryBody) -> Response:
    """Queue an ended job again, from where it was."""

    async def effect() -> Answer:
        return _queued(await ctx.act(ctx.deps.jobs.retry(JobId(id), afresh=body.afresh)))

    return await once(body, effect)


@router.get("/jobs/{id}/samples", responses=reading(tuple[Sample, ...], 404))
async def samples(ctx: Ctx, id: Id) -> Response:
    """What a job has measured so far, case by case."""
    return answer(await ctx.read(ctx.deps.jobs.samples(JobId(id))))


class ResultQuery(BaseModel):
    """Which ones, and how many."""

    model_config = ConfigDict(extra="forbid")

    job: Annotated[Name | None, Field(description="Only this job's.")] = None
    suite: Annotated[Name | None, Field(description="Only this suite's.")] = None
    target: Annotated[Name | None, Field(description="Only this preset's or mode's.")] = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


@router.get("/results", responses=reading(tuple[Result, ...], 404))
async def results(ctx: Ctx, query: Annotated[ResultQuery, Query()]) -> Response:
    """What jobs found out, one result for each target, newest first."""
    of = None if query.job is None else JobId(query.job)
    found = ctx.deps.jobs.results(of, suite=query.suite or "", target=query.target or "", limit=query.limit)
    return answer(await ctx.read(found))


def _queued(record: JobRecord) -> Answer:
    return Answer(202, _shown(record), {"Location": f"{API}/jobs/{record.id}"})


def _shown(record: JobRecord) -> JobAnswer:
    members = {one.name: getattr(record, one.name) for one in fields(record)}
    left = None if record.state.ended else record.progress.seconds_left
    return JobAnswer(**members, seconds_left=left)
