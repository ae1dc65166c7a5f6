"""Beginning a switch and answering with it: shared by the routes on switches and on services."""

from __future__ import annotations

from dataclasses import dataclass

from gpumod.access.rules import API
from gpumod.api.context import Answer, Context
from gpumod.api.idempotency import Effect
from gpumod.core.errors import RefusedError
from gpumod.core.plan import Refused
from gpumod.core.switch import SwitchRequest, SwitchState


@dataclass(frozen=True, slots=True)
class Ask:
    """A switch to begin, and for how many seconds to wait for its end."""

    request: SwitchRequest
    wait: float = 0.0


def duration(ctx: Context, *, wait: bool | float) -> float:
    """Seconds to wait: `true` stands for as long as it takes, within the bound."""
    return ctx.deps.limits.waiting if wait is True else min(float(wait), ctx.deps.limits.waiting)


def carry_out(ctx: Context, ask: Ask) -> Effect:
    """Begin a switch; 200 when it has ended, else 202."""

    async def effect() -> Answer:
        begun = await ctx.act(ctx.deps.switching.begin(ask.request))
        if isinstance(begun, Refused):
            raise refusal(begun)
        record = await ctx.ended(begun, ask.wait)
        location = {"Location": f"{API}/switches/{record.id}"}
        already = record.state is SwitchState.COMMITTED and not record.steps
        done = already or (ask.wait and record.state.ended)
        return Answer(200 if done else 202, record, location)

    return effect


def refusal(refused: Refused) -> RefusedError:
    """A refusal as an error that carries every reason."""
    detail = " ".join(f"{reason.detail.rstrip('.')}." for reason in refused.reasons)
    return RefusedError(
        detail or "the planner gave no reason",
        {"mode": refused.target.mode, "reasons": list(refused.reasons)},
    )
