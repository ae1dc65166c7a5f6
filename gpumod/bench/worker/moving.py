"""Moves of the box by a job: through the same planner and lock as anybody's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpumod.core.switch import SwitchRecord, SwitchRequest

if TYPE_CHECKING:
    from gpumod.bench.worker.attending import Attendant
    from gpumod.bench.worker.parts import WorkerParts
    from gpumod.core.plan import Refused
    from gpumod.core.service import Desired
    from gpumod.core.spec import OnFailure


async def begin_move(
    parts: WorkerParts, attendant: Attendant, desired: Desired, on_failure: OnFailure | None
) -> SwitchRecord | Refused:
    """Let the lease go and begin a switch.

    Raises:
        SwitchRunningError: somebody else's switch was faster; nothing was done.
        NotFoundError: there is no such mode any more.
        Lost: the job has another owner.
    """
    await attendant.release()
    await attendant.hold(former=attendant.job.former, restore=attendant.job.restore, lease=None)
    return await parts.switching.begin(
        SwitchRequest(exactly=desired, on_failure=on_failure, by=attendant.name)
    )


def refusal(refused: Refused) -> str:
    """Why the planner refused, in words."""
    return f"refused: {'; '.join(reason.detail for reason in refused.reasons)}"


def misfortune(ended: SwitchRecord) -> str:
    """Why a switch that was not committed was not, and what it left."""
    return f"{ended.reason}; the box is left {ended.left}"
