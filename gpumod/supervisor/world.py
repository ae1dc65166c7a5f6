"""What gpumod believes of its services: records in memory, written through to the store."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from gpumod.core.errors import StoreError
from gpumod.core.events import EventKind
from gpumod.core.states import ServiceState, transition
from gpumod.supervisor.absent import AbsentRunner

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from gpumod.core.footprint import Footprint
    from gpumod.core.names import CardId, ServiceId
    from gpumod.core.ports import Clock, Events, Runner, Store
    from gpumod.core.service import RunKey, ServiceRecord
    from gpumod.core.spec import ServiceSpec

_log = logging.getLogger(__name__)


class World:
    """The records of all services, changed only through the transition table.

    Every change names the generation it is about: a late result of an older attempt changes
    nothing (invariant 8).
    """

    def __init__(self, store: Store, clock: Clock, events: Events, runners: dict[str, Runner]) -> None:
        self._store = store
        self._clock = clock
        self._events = events
        self._runners = runners
        self._records: dict[ServiceId, ServiceRecord] = {}
        self._unkillable: dict[RunKey, frozenset[int]] = {}
        self.on_change: Callable[[], None] = _nobody
        """Called after any record has changed in memory."""

    def load(self, records: Iterable[ServiceRecord]) -> None:
        """Take over what the store has."""
        self._records = {record.id: record for record in records}

    def all(self) -> tuple[ServiceRecord, ...]:
        """Every record, in the order of ids."""
        return tuple(self._records[key] for key in sorted(self._records))

    def get(self, service: ServiceId) -> ServiceRecord | None:
        """The record of a service, or None."""
        return self._records.get(service)

    def runner(self, record: ServiceRecord) -> Runner:
        """The runner that a record's attempt belongs to."""
        return self._runners.get(record.runner) or AbsentRunner(record.runner)

    def current(self, key: RunKey) -> ServiceRecord | None:
        """The record if this attempt is still the newest, else None."""
        record = self._records.get(key.service)
        return record if record is not None and record.generation == key.generation else None

    async def put(self, record: ServiceRecord) -> None:
        """Set a whole record, on disk first: for the start of a new attempt.

        Raises:
            StoreError: the record could not be kept; nothing has changed.
        """
        await self._store.save_service(record)
        self._records[record.id] = record
        self._tell(record)
        self.on_change()

    async def change(
        self, key: RunKey, state: ServiceState, reason: str, **fields: object
    ) -> ServiceRecord | None:
        """Move an attempt to a state; None when a newer attempt has taken its place.

        Memory is changed even if the disk cannot be written: what happened has happened, and the
        next change writes the whole record again.

        Raises:
            IllegalTransitionError: the table has no such change.
        """
        record = self.current(key)
        if record is None:
            _log.info("%s generation %s: late result ignored (%s)", key.service, key.generation, reason)
            return None
        if record.state is not state:
            transition(record.state, state)
        moved = replace(record, state=state, reason=reason, since=self._clock.now(), **fields)  # type: ignore[arg-type]
        self._records[key.service] = moved
        self._tell(moved)
        self.on_change()
        await self._keep(moved)
        return moved

    async def note(self, key: RunKey, *, save: bool = True, **fields: object) -> ServiceRecord | None:
        """Change fields of an attempt without changing its state."""
        record = self.current(key)
        if record is None:
            return None
        noted = replace(record, **fields)  # type: ignore[arg-type]
        self._records[key.service] = noted
        self.on_change()
        if save:
            await self._keep(noted)
        return noted

    async def take_specs(self, specs: Iterable[ServiceSpec]) -> None:
        """Let kept services follow what changed in their files without changing their launch.

        Drain, aliases, restart policy and the like take effect without a restart.
        """
        for spec in specs:
            record = self._records.get(spec.id)
            if record is not None and record.spec != spec:
                await self.note(record.key, spec=spec)

    async def take_charges(self, charges: Iterable[tuple[ServiceId, Footprint]]) -> None:
        """Charge kept services what their files declare now."""
        for service, footprint in charges:
            record = self._records.get(service)
            if record is not None:
                await self.note(record.key, footprint=footprint)

    async def drop(self, service: ServiceId) -> None:
        """Forget a service that is stopped and that nothing wants."""
        if self._records.pop(service, None) is not None:
            self.on_change()
            await self._store.delete_service(service)

    def cannot_kill(self, key: RunKey, pids: Iterable[int]) -> None:
        """Processes of an attempt survive SIGKILL."""
        self._unkillable[key] = frozenset(pids)

    def unkillable(self, key: RunKey) -> frozenset[int]:
        """Processes of an attempt that survived SIGKILL and were not seen to be gone since."""
        return self._unkillable.get(key, frozenset())

    @property
    def unkillable_strays(self) -> tuple[RunKey, ...]:
        """Attempts that survive SIGKILL and that no record is about."""
        return tuple(sorted(key for key in self._unkillable if self.current(key) is None))

    def gone_at_last(self, living: Mapping[RunKey, Collection[int]]) -> tuple[RunKey, ...]:
        """Take over which of the unkillable still live; answers with the attempts that are rid of them."""
        left = {key: pids & set(living.get(key, ())) for key, pids in self._unkillable.items()}
        self._unkillable = {key: pids for key, pids in left.items() if pids}
        return tuple(key for key, pids in left.items() if not pids)

    @property
    def stuck(self) -> str:
        """Which processes cannot be killed, in a sentence; empty when none is known."""
        return "; ".join(
            f"process {pid} of {key.service} survives SIGKILL"
            for key, pids in sorted(self._unkillable.items())
            for pid in sorted(pids)
        )

    async def observe(self, key: RunKey, observed: dict[CardId, int]) -> None:
        """Remember what an attempt was seen to hold; kept in memory until its next change."""
        if observed:
            await self.note(key, save=False, observed=tuple(sorted(observed.items())))

    async def _keep(self, record: ServiceRecord) -> None:
        try:
            await self._store.save_service(record)
        except StoreError as error:
            _log.error("the record of %s could not be written: %s", record.id, error.detail)

    def _tell(self, record: ServiceRecord) -> None:
        self._events.publish(
            EventKind.SERVICE,
            record.id,
            f"{record.id} is {record.state}: {record.reason}",
            state=record.state.value,
            generation=record.generation,
            reason=record.reason,
        )


def _nobody() -> None:
    """Nobody wants to know."""
