"""Routes on leases."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from gpumod.api.bodies import NAME, LeaseBody, RenewBody
from gpumod.api.context import Answer, Ctx, answer
from gpumod.api.document import changing, reading
from gpumod.api.idempotency import OnceOnly
from gpumod.core.lease import Lease
from gpumod.core.names import LeaseId, ServiceId

router = APIRouter(prefix="/leases", tags=["leases"])
Id = Annotated[str, Path(pattern=NAME)]


@router.get("", responses=reading(tuple[Lease, ...]))
async def leases(ctx: Ctx) -> Response:
    """The leases that hold now."""
    return answer(await ctx.read(ctx.deps.leases.active()))


@router.post("", status_code=201, responses=changing(Lease, 404, 409, status=201))
async def take(ctx: Ctx, once: OnceOnly, body: LeaseBody) -> Response:
    """Claim services: nothing stops them until the lease ends, unless it is forced."""
    services = None if body.services is None else [ServiceId(one) for one in body.services]

    async def effect() -> Answer:
        call = ctx.deps.leases.take(body.holder, body.seconds, services=services, purpose=body.purpose)
        return Answer(201, await ctx.act(call))

    return await once(body, effect)


@router.post("/{id}/renew", responses=changing(Lease, 404))
async def renew(ctx: Ctx, once: OnceOnly, id: Id, body: RenewBody) -> Response:
    """Move the end of a lease to so many seconds from now."""

    async def effect() -> Answer:
        return Answer(200, await ctx.act(ctx.deps.leases.renew(LeaseId(id), body.seconds)))

    return await once(body, effect)


@router.delete("/{id}", responses=changing(Lease, 404))
async def release(ctx: Ctx, id: Id) -> Response:
    """Give a lease back."""
    return answer(await ctx.act(ctx.deps.leases.release(LeaseId(id))))
