"""gpumodd that meets a fault at one point of its journal, for the tests that kill it or make a step fail.

    python -m gpumod.testing.crashing_daemon FAULT_FILE --config DIR

The fault is what FAULT_FILE says at that moment, `PHASE:KIND:MOMENT`; none while there is no such file.
`MOMENT` is `begun` (the step is journaled, nothing was done), `acted` (it was done, its end is not
journaled) or `done` (its end is journaled): the daemon dies there. With `fail` the step fails instead.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from gpumod.core.errors import StartFailedError
from gpumod.core.plan import StepKind
from gpumod.core.switch import Phase, StepRecord, StepState
from gpumod.daemon import parse_options, run

if TYPE_CHECKING:
    from gpumod.core.names import SwitchId
    from gpumod.core.ports import Store
    from gpumod.supervisor.parts import Parts

MOMENTS = ("begun", "acted", "done")
FAIL = "fail"


class FaultyStore:
    """A store that does what it is asked, and lets the daemon die beside it."""

    def __init__(self, store: Store, fault: Path) -> None:
        self._store = store
        self._fault = fault

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def write_step(self, switch: SwitchId, step: StepRecord) -> None:
        """Write a step, and meet the fault if this is its point."""
        moment = self._moment_at(step)
        ended = step.state in {StepState.DONE, StepState.FAILED}
        if moment == "acted" and ended:
            os.kill(os.getpid(), signal.SIGKILL)
        await self._store.write_step(switch, step)
        if moment == FAIL and step.state is StepState.RUNNING:
            raise StartFailedError(f"injected: {step.phrase} fails")
        if (moment == "begun" and step.state is StepState.RUNNING) or (moment == "done" and ended):
            os.kill(os.getpid(), signal.SIGKILL)

    def _moment_at(self, step: StepRecord) -> str:
        """The fault's moment if it is in this step, else nothing."""
        if not self._fault.exists():
            return ""
        phase, kind, moment = self._fault.read_text().strip().split(":")
        return moment if (step.phase, step.kind) == (Phase(phase), StepKind(kind)) else ""


def main() -> int:
    """Run the daemon with the fault that the file names."""
    fault = Path(sys.argv[1])

    def adapt(parts: Parts) -> Parts:
        return replace(parts, store=cast("Store", FaultyStore(parts.store, fault)))

    return run(parse_options(sys.argv[2:]), adapt)


if __name__ == "__main__":
    sys.exit(main())
