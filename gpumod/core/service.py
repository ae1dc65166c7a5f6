"""A service at work: what was launched, where it lives, and what is recorded of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from gpumod.core.footprint import Footprint
from gpumod.core.names import CardId, PresetId, ServiceId
from gpumod.core.spec import EngineKind, ServiceSpec
from gpumod.core.states import ServiceState


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """A file as it was when it was launched: another size, time or inode is another file."""

    path: str
    size: int
    modified_ns: int
    inode: int = 0


@dataclass(frozen=True, slots=True)
class Launch:
    """The launch record: everything that decides what runs.

    Two equal records are the same service at work; a kept service has equal records on both
    sides of a switch. `argv` and `env` are complete (no `${...}` left), `env` is sorted.
    """

    engine: EngineKind
    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    port: int
    cards: tuple[CardId, ...]
    files: tuple[FileIdentity, ...] = ()
    build: str = ""
    cwd: str | None = None
    container: str | None = None
    """The container's name, where the engine is one."""
    fingerprint: str = ""
    """Names everything that changes memory: what measurements are kept under."""


class RunKey(NamedTuple):
    """One attempt at running a service. A later attempt has a higher generation."""

    service: ServiceId
    generation: int


class ProcessIdentity(NamedTuple):
    """A process that cannot be confused with a later one of the same pid.

    `start_ticks` is field 22 of /proc/PID/stat, `boot_id` /proc/sys/kernel/random/boot_id.
    """

    pid: int
    start_ticks: int
    boot_id: str


@dataclass(frozen=True, slots=True)
class ExitReport:
    """How an attempt ended. Exactly one of `code` and `signal` is set, unless nobody saw it end."""

    key: RunKey
    code: int | None
    signal: int | None
    at: float
    out_of_memory: bool = False
    """The kernel's or the cgroup's OOM killer ended it."""

    @property
    def phrase(self) -> str:
        """How it ended, in words."""
        if self.out_of_memory:
            return "was killed because host memory ran out"
        if self.signal is not None:
            return f"was killed by signal {self.signal}"
        if self.code is not None:
            return f"exited with code {self.code}"
        return "ended while nobody was watching"


@dataclass(frozen=True, slots=True)
class ServiceRecord:
    """What gpumod knows and keeps of one service.

    `observed` is what the service was last seen to hold, per card; it is the fallback where the
    driver does not tell a process's bytes. `restarts` are the times of recent restarts.
    """

    id: ServiceId
    state: ServiceState
    generation: int
    reason: str
    since: float
    spec: ServiceSpec
    launch: Launch | None = None
    footprint: Footprint | None = None
    observed: tuple[tuple[CardId, int], ...] = ()
    runner: str = ""
    admitting: bool = False
    ready_at: float | None = None
    restarts: tuple[float, ...] = ()
    last_log: tuple[str, ...] = ()
    """The engine's last lines, kept when it failed."""

    @property
    def key(self) -> RunKey:
        """The current attempt."""
        return RunKey(self.id, self.generation)

    @property
    def cards(self) -> tuple[CardId, ...]:
        """Where it runs; empty when it does not."""
        return self.launch.cards if self.launch else ()

    def reserved(self, card: CardId) -> int:
        """Bytes reserved on a card; 0 where it has none."""
        return self.footprint.on(self.cards, card) if self.footprint else 0

    def last_observed(self, card: CardId) -> int | None:
        """Bytes last seen on a card, None where never seen."""
        return dict(self.observed).get(card)


@dataclass(frozen=True, slots=True)
class Desired:
    """What the box should be: a mode, and what was added or removed by hand."""

    mode: str
    added: tuple[ServiceSpec, ...] = ()
    removed: tuple[ServiceId, ...] = ()
    since: float = 0.0

    @property
    def phrase(self) -> str:
        """The mode and what differs from it, in words."""
        said = self.mode
        if self.added:
            said += f" with {', '.join(spec.id for spec in self.added)}"
        if self.removed:
            said += f" without {', '.join(self.removed)}"
        return said

    def same(self, other: Desired) -> bool:
        """Whether both ask for the same services, whenever they were set."""
        return (self.mode, self._services, set(self.removed)) == (
            other.mode,
            other._services,
            set(other.removed),
        )

    @property
    def _services(self) -> set[tuple[ServiceId, PresetId]]:
        return {(spec.id, spec.preset) for spec in self.added}
