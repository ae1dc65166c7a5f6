"""Facts: the frozen snapshot that every decision is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from gpumod.core.cards import CardsReading, PortHolder
from gpumod.core.footprint import Footprint, FootprintKey
from gpumod.core.landmine import Landmine
from gpumod.core.lease import Lease
from gpumod.core.names import CardId, ServiceId
from gpumod.core.service import Desired, ServiceRecord


@dataclass(frozen=True, slots=True)
class TargetFinding:
    """What was found out about one service of the target, before planning.

    Args:
        port: the port it would listen on.
        port_holder: who listens there now, if it is not the service itself.
        same_launch: the service runs and launching it again where it is would give an equal record.
        missing_files: paths that are not there or cannot be read, each with the reason.
        binary_problem: why the engine's program cannot be used; empty when it can.
        contradictions: `args` that contradict a key, sentences.
        not_built: keys that this version refuses rather than ignores, sentences.
        exclusive_start: the engine measures its cards while it starts, so nothing else may start
            or stop on them meanwhile (vLLM).
    """

    port: int
    port_holder: PortHolder | None = None
    same_launch: bool = False
    missing_files: tuple[tuple[str, str], ...] = ()
    binary_problem: str = ""
    contradictions: tuple[str, ...] = ()
    not_built: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    exclusive_start: bool = False
    multi_card_same_model: bool = False
    """Several cards must be of one model (tensor parallelism)."""


@dataclass(frozen=True, slots=True)
class RunningService:
    """A service of ours that is not stopped, and what it holds at this moment.

    `held` is what the driver shows of its processes, per card; a card it runs on whose bytes are
    not told is absent. `alive` is whether any process of it exists.
    """

    record: ServiceRecord
    alive: bool = True
    held: tuple[tuple[CardId, int], ...] = ()
    host_held: int = 0
    unkillable: tuple[int, ...] = ()

    def with_record(self, record: ServiceRecord) -> RunningService:
        """What was seen, with its record as that is by now.

        No process was there to see of an attempt that has begun since: it is not taken for gone.
        """
        seen = self.record
        begun = record.key != seen.key or (seen.state.is_starting and not record.state.is_starting)
        return replace(self, record=record, alive=self.alive or (begun and record.state.may_hold_memory))


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that planning may look at."""

    now: float
    reading: CardsReading
    services: tuple[RunningService, ...] = ()
    findings: Mapping[ServiceId, TargetFinding] = field(default_factory=dict)
    footprints: Mapping[FootprintKey, Footprint] = field(default_factory=dict)
    landmines: Mapping[FootprintKey, tuple[Landmine, ...]] = field(default_factory=dict)
    """Known traps of a start; none where there is no entry."""
    leases: tuple[Lease, ...] = ()
    desired: Desired | None = None

    def running(self, service: ServiceId) -> RunningService | None:
        """The running service of that id, or None."""
        return next((one for one in self.services if one.record.id == service), None)
