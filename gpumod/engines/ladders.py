"""Stop ladders: what ends an engine from which state, in one table.

The facts behind it:

* Nobody has installed a signal handler while a model loads. llama.cpp then dies of SIGTERM, but as pid 1 of a
  container it ignores it; vLLM ignores SIGTERM while its engine starts. There is nothing to finish: kill.
* llama.cpp with requests in flight neither drains nor cuts on SIGTERM: it stops generating, closes its port
  and waits for its clients, for minutes. vLLM with `--shutdown-timeout` waits for a stuck client for ever. So
  SIGTERM is for a drained engine, and one that was not drained in time is killed.
* A parked process is frozen by the driver: it can only be killed.
* SIGKILL of vLLM's API server leaves its engine core with the memory: `kill` means the whole tree.
"""

from __future__ import annotations

import signal
from enum import StrEnum
from typing import Final

from gpumod.core.bounds import Bounds
from gpumod.core.ports import Rung
from gpumod.core.spec import ServiceSpec
from gpumod.core.states import ServiceState


class Way(StrEnum):
    """How an engine is ended."""

    POLITE = "polite"
    """SIGTERM, its grace, then SIGKILL."""
    HARD = "hard"
    """SIGKILL at once."""


_S = ServiceState
_WAYS: Final = {
    (_S.STARTING, False): Way.HARD,
    (_S.LOADING, False): Way.HARD,
    (_S.READY, False): Way.HARD,
    (_S.READY, True): Way.POLITE,
    (_S.DRAINING, False): Way.HARD,
    (_S.DRAINING, True): Way.POLITE,
    (_S.STOPPING, False): Way.HARD,
    (_S.STOPPING, True): Way.POLITE,
    (_S.SLEEPING, False): Way.POLITE,
    (_S.SLEEPING, True): Way.POLITE,
    (_S.PARKED, False): Way.HARD,
    (_S.FAILED, False): Way.HARD,
    (_S.STOPPED, False): Way.HARD,
}
"""By state and whether no request is in flight."""


def way(state: ServiceState, *, drained: bool) -> Way:
    """How an engine is ended in this state. What the table does not have is ended hard."""
    return _WAYS.get((state, drained), Way.HARD)


def kill(bounds: Bounds) -> Rung:
    """The last rung of every ladder: SIGKILL to every process of the tree."""
    return Rung("kill", bounds.after_kill)


def ladder(
    spec: ServiceSpec, bounds: Bounds, state: ServiceState, *, drained: bool, first: tuple[Rung, ...] = ()
) -> tuple[Rung, ...]:
    """The ladder of an engine that is a process of its own.

    Args:
        spec: gives the grace.
        bounds: gives the wait after SIGKILL.
        state: where the service is.
        drained: whether no request is in flight.
        first: rungs before the signal, of engines that have a stop command.
    """
    if way(state, drained=drained) is Way.HARD:
        return (*first, kill(bounds))
    return (*first, Rung("signal", spec.stop_grace, number=signal.SIGTERM), kill(bounds))
