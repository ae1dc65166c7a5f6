"""Routes on schedules."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from gpumod.api.context import Caller, Ctx, answer
from gpumod.api.document import changing, reading
from gpumod.api.job_bodies import SCHEDULE_NAME, ScheduleAnswer, ScheduleBody
from gpumod.core.errors import InvalidRequestError, NotFoundError
from gpumod.core.job import Schedule, ScheduleId
from gpumod.core.job_ports import ScheduleBook

router = APIRouter(prefix="/schedules", tags=["schedules"])
Id = Annotated[str, Path(pattern=SCHEDULE_NAME)]


@router.get("", responses=reading(tuple[ScheduleAnswer, ...]))
async def schedules(ctx: Ctx) -> Response:
    """Every schedule, and when it fires next."""
    found = await ctx.read(ctx.deps.schedules.schedules())
    return answer([_shown(ctx.deps.schedules, one) for one in found])


@router.get("/{id}", responses=reading(ScheduleAnswer, 404))
async def schedule(ctx: Ctx, id: Id) -> Response:
    """One schedule."""
    return answer(_shown(ctx.deps.schedules, await _one(ctx, ScheduleId(id))))


@router.put("/{id}", responses=changing(ScheduleAnswer, 404))
async def save(ctx: Ctx, caller: Caller, id: Id, body: ScheduleBody) -> Response:
    """Keep a schedule, in place of the former one of that id; its times count from now on."""
    request = body.job.request(caller.name)
    await ctx.read(ctx.deps.jobs.check(request))
    wanted = Schedule(
        id=ScheduleId(id),
        cron=body.cron,
        timezone=body.timezone,
        request=request,
        created=ctx.deps.now(),
        enabled=body.enabled,
    )
    return answer(_shown(ctx.deps.schedules, await ctx.act(ctx.deps.schedules.save(wanted))))


@router.delete("/{id}", responses=changing(ScheduleAnswer, 404))
async def delete(ctx: Ctx, id: Id) -> Response:
    """Forget a schedule; the jobs that it has submitted stay."""
    former = await _one(ctx, ScheduleId(id))
    await ctx.act(ctx.deps.schedules.delete(former.id))
    return answer(_shown(ctx.deps.schedules, former))


async def _one(ctx: Ctx, name: ScheduleId) -> Schedule:
    found = await ctx.read(ctx.deps.schedules.schedules())
    for one in found:
        if one.id == name:
            return one
    raise NotFoundError(f"no schedule is called {name}", {"schedule": name})


def _shown(book: ScheduleBook, schedule: Schedule) -> ScheduleAnswer:
    members = {one.name: getattr(schedule, one.name) for one in fields(schedule)}
    try:
        firing = book.next_firing(schedule)
    except InvalidRequestError:
        firing = None
    return ScheduleAnswer(**members, next=firing)
