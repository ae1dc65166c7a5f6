"""Routes on switches."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from gpumod.api.begin import Ask, carry_out, duration, refusal
from gpumod.api.bodies import (
    DAY,
    NAME,
    Nothing,
    PlanAnswer,
    PreflightAnswer,
    PreflightBody,
    SwitchBody,
)
from gpumod.api.context import Answer, Ctx, answer
from gpumod.api.document import changing, reading, switching
from gpumod.api.idempotency import OnceOnly
from gpumod.core.names import ModeId, SwitchId
from gpumod.core.plan import Refused
from gpumod.core.switch import SwitchRecord, SwitchRequest

router = APIRouter(tags=["switches"])
Id = Annotated[str, Path(pattern=NAME)]


@router.post(
    "/switches",
    responses=switching(SwitchRecord | PlanAnswer),
)
async def begin(ctx: Ctx, once: OnceOnly, body: SwitchBody) -> Response:
    """Switch to a mode, or with `dry_run` tell what that would do.

    200 when it was waited for or nothing had to be done, else 202. An identical running switch is joined.
    """
    request = SwitchRequest(
        mode=ModeId(body.mode),
        force=body.force,
        on_failure=body.on_failure,
        deadline=body.deadline,
        by=once.by,
    )
    if body.dry_run:
        plan = await ctx.read(ctx.deps.switching.plan(request), within=ctx.deps.limits.planning)
        if isinstance(plan, Refused):
            raise refusal(plan)
        return answer(PlanAnswer(plan))
    return await once(body, carry_out(ctx, Ask(request, duration(ctx, wait=body.wait))))


class ListQuery(BaseModel):
    """How many."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=1000)] = 50


@router.get("/switches", responses=reading(tuple[SwitchRecord, ...]))
async def switches(ctx: Ctx, query: Annotated[ListQuery, Query()]) -> Response:
    """The latest switches, newest first, without their steps."""
    return answer(await ctx.read(ctx.deps.switching.switches(query.limit)))


class WaitQuery(BaseModel):
    """How long to wait."""

    model_config = ConfigDict(extra="forbid")

    wait: Annotated[float, Field(ge=0, le=DAY, allow_inf_nan=False, description="Seconds.")] = 0


@router.get("/switches/{id}", responses=reading(SwitchRecord, 404))
async def switch(ctx: Ctx, id: Id, query: Annotated[WaitQuery, Query()]) -> Response:
    """One switch with its steps, once it has ended or `wait` seconds have passed."""
    record = await ctx.read(ctx.deps.switching.switch(SwitchId(id)))
    return answer(await ctx.ended(record, duration(ctx, wait=query.wait)))


@router.post("/switches/{id}/cancel", responses=changing(SwitchRecord, 404, 409))
async def cancel(ctx: Ctx, once: OnceOnly, id: Id, body: Nothing) -> Response:
    """Ask a running switch to stop and undo itself; answers at once."""

    async def effect() -> Answer:
        return Answer(200, await ctx.act(ctx.deps.switching.cancel(SwitchId(id), once.by)))

    return await once(body, effect)


@router.post("/preflight", responses=changing(PreflightAnswer, 404))
async def preflight(ctx: Ctx, body: PreflightBody) -> Response:
    """Whether a preset, on top of what runs, or a mode would start now, and its memory. Changes nothing."""
    call = ctx.deps.switching.preflight(body.name, fit_context=body.fit_context, oracle=body.oracle)
    found = await ctx.read(call, within=ctx.deps.limits.planning)
    if isinstance(found.outcome, Refused):
        reasons = found.outcome.reasons
        return answer(PreflightAnswer(fits=False, reasons=reasons, services=found.services))
    return answer(PreflightAnswer(fits=True, plan=found.outcome, services=found.services))
