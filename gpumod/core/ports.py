"""Ports: what rooms ask of each other, as Protocols.

Each adapter's port has one contract suite in `tests/contract` that the fake and the real adapter
both pass. Waiting in an adapter is always bounded by the caller or by `core.bounds`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from gpumod.core.cards import CardEvent, CardModel, CardsReading, PortHolder
from gpumod.core.events import Event, EventKind
from gpumod.core.footprint import Footprint, Measurement
from gpumod.core.landmine import Landmine
from gpumod.core.lease import Lease
from gpumod.core.names import CardId, LeaseId, ModeId, ServiceId, SwitchId
from gpumod.core.plan import Plan, Refused
from gpumod.core.preflight import OracleAnswer, Preflight
from gpumod.core.service import (
    Desired,
    ExitReport,
    FileIdentity,
    Launch,
    ProcessIdentity,
    RunKey,
    ServiceRecord,
)
from gpumod.core.spec import Catalog, EngineKind, ServiceSpec
from gpumod.core.states import ServiceState
from gpumod.core.switch import BoxStatus, StepRecord, SwitchRecord, SwitchRequest


class Clock(Protocol):
    """Time, passed in."""

    def now(self) -> float:
        """Unix time in seconds."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary point that never go back; for durations and deadlines."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait that long."""
        ...


# --- hardware -------------------------------------------------------------------------------


class Hardware(Protocol):
    """The cards and the host of this box."""

    async def read(
        self, *, ours: Mapping[int, ServiceId] | None = None, only: Collection[CardId] | None = None
    ) -> CardsReading:
        """Look at the cards now.

        `ours` maps pids to services: processes found there get that `service`; on the host card
        these trees are charged by anonymous PSS. `only` limits the look to some cards (the memory
        barrier reads every 10 ms). Never raises and never takes longer than `Bounds.driver_call`:
        a card that does not answer is returned `unknown` with its last snapshot and its age.
        """
        ...

    def subscribe(self, on_event: Callable[[CardEvent], None]) -> Callable[[], None]:
        """Call `on_event` in the event loop for each card event; returns how to stop it."""
        ...

    async def close(self) -> None:
        """Give up threads and the driver's library."""
        ...


class HostProbe(Protocol):
    """What the operating system tells of processes, ports and files."""

    async def port_holder(self, port: int) -> PortHolder | None:
        """Who listens on a loopback or wildcard TCP port; None when nobody does."""
        ...

    async def listens(self, port: int, pids: Collection[int]) -> bool | None:
        """Whether one of the pids holds the listener; None where it may not be seen."""
        ...

    async def identify(self, path: str) -> FileIdentity | str:
        """The file's identity, or why it cannot be read."""
        ...

    async def anonymous_pss(self, pids: Collection[int]) -> int:
        """Bytes of anonymous memory (Pss_Anon) of these processes together; gone ones count 0."""
        ...


# --- runners --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What a runner starts. Output of the tree goes to `log`, appended."""

    key: RunKey
    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    log: str
    cwd: str | None = None
    memory_max: int | None = None
    user: str | None = None


class Liveness(StrEnum):
    """What a runner finds of an attempt."""

    RUNNING = "running"
    EXITED = "exited"
    """It ran and has ended; an exit report can be had."""
    ABSENT = "absent"
    """There is no trace of it."""


@dataclass(frozen=True, slots=True)
class RunFound:
    """An attempt as the runner finds it, now or after a restart of the daemon."""

    key: RunKey
    liveness: Liveness
    leader: ProcessIdentity | None = None
    exit: ExitReport | None = None


class Runner(Protocol):
    """How a service's processes live. They outlive the daemon.

    All methods may be called for a key that is gone; they then do nothing.
    """

    @property
    def name(self) -> str:
        """`process`, `systemd` or `fake`; recorded with each service."""
        ...

    async def start(self, request: RunRequest) -> RunFound:
        """Start an attempt; returns once its first process exists.

        Raises:
            StartFailedError: the program cannot be executed.
        """
        ...

    async def find(self, key: RunKey) -> RunFound:
        """Look for an attempt, also one that a former daemon started."""
        ...

    async def runs(self) -> tuple[RunFound, ...]:
        """Every attempt of this state directory that has left any trace."""
        ...

    async def processes(self, key: RunKey) -> tuple[ProcessIdentity, ...]:
        """All living processes of the attempt's tree, zombies left out.

        Children that called setsid, changed their title or outlived their leader are included.
        """
        ...

    async def signal(self, key: RunKey, number: int) -> None:
        """Send a signal to the attempt's leader."""
        ...

    async def kill(self, key: RunKey) -> None:
        """Send SIGKILL to every process of the tree, again until none is left or the bound."""
        ...

    async def forget(self, key: RunKey) -> None:
        """Remove what is kept of an attempt that has ended."""
        ...

    def subscribe(self, on_exit: Callable[[ExitReport], None]) -> Callable[[], None]:
        """Call `on_exit` in the event loop when an attempt's leader has ended."""
        ...

    async def close(self) -> None:
        """Stop watching; running attempts are left alone."""
        ...


# --- engines --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EngineBuild:
    """An engine's program: where, which build, and what it can do.

    `flags` are the long options that its help lists; empty where it was not asked.
    """

    path: str
    version: str
    flags: frozenset[str] = frozenset()
    identity: FileIdentity | None = None
    traits: frozenset[str] = frozenset()
    """What it can do beyond the flags' names, in the adapter's own words."""


class Readiness(StrEnum):
    """What an engine says of itself."""

    CLOSED = "closed"
    """Nothing listens yet."""
    LOADING = "loading"
    READY = "ready"
    WRONG_MODEL = "wrong_model"
    """Something answers, but it does not serve our model."""
    ERROR = "error"
    """It answers, with an error."""


@dataclass(frozen=True, slots=True)
class ProbeAnswer:
    """One probe: what the engine says, and its words."""

    readiness: Readiness
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Rung:
    """One rung of a stop ladder: do this, then wait at most so long for the tree to be gone.

    `act` is `signal` (with `number`), `command` (with `argv`), or `kill` (SIGKILL to the tree).
    """

    act: str
    wait: float
    number: int = 0
    argv: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Check:
    """What an engine has to say about a spec before anything is started; sentences."""

    contradictions: tuple[str, ...] = ()
    not_built: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class Engine(Protocol):
    """One engine family. Composing is pure; probing is HTTP on loopback."""

    @property
    def kind(self) -> EngineKind:
        """Which family."""
        ...

    @property
    def exclusive_start(self) -> bool:
        """Whether it measures its cards while it starts (vLLM)."""
        ...

    async def build(self, spec: ServiceSpec) -> EngineBuild | str:
        """The program that would run, asked once per file identity; or why it cannot be used."""
        ...

    def check(self, spec: ServiceSpec, build: EngineBuild | None) -> Check:
        """`args` that contradict keys, and keys that are refused."""
        ...

    def files(self, spec: ServiceSpec) -> tuple[str, ...]:
        """Every file that a launch needs, all shards of a split model included."""
        ...

    def compose(
        self,
        spec: ServiceSpec,
        build: EngineBuild,
        *,
        cards: tuple[CardId, ...],
        card_indexes: Mapping[CardId, int],
        port: int,
        files: tuple[FileIdentity, ...],
        generation: int,
        split: tuple[int, ...] = (),
    ) -> Launch:
        """The launch record. `card_indexes` are PCI-ordered; `split` is each card's share, in any unit.

        llama.cpp takes a share of so many layers, the output counted as one, at its word.
        """
        ...

    async def probe(self, spec: ServiceSpec, launch: Launch) -> ProbeAnswer:
        """Ask whether it is ready and serves our model; bounded by `Bounds.probe`."""
        ...

    async def warm_up(self, spec: ServiceSpec, launch: Launch) -> str:
        """One request of the right kind; empty when answered, else why not."""
        ...

    def counts_requests(self, spec: ServiceSpec) -> bool:
        """Whether the engine can be asked for its requests in flight at all."""
        ...

    async def in_flight(self, spec: ServiceSpec, launch: Launch) -> int | None:
        """Requests that run or wait inside the engine; None when it does not answer."""
        ...

    def ladder(
        self, spec: ServiceSpec, launch: Launch, *, state: ServiceState, drained: bool
    ) -> tuple[Rung, ...]:
        """How to stop it from this state. The last rung is always `kill`."""
        ...

    def explain(
        self, lines: Sequence[str], exit_report: ExitReport | None, launch: Launch | None = None
    ) -> str:
        """Why a start failed, in one sentence with numbers, from the log's last lines.

        `launch` tells which cards the engine's own device numbers mean.
        """
        ...

    async def clean(self, spec: ServiceSpec, launch: Launch) -> None:
        """Remove what may be left outside the process tree (a container by its name)."""
        ...

    async def outside(self, spec: ServiceSpec, launch: Launch) -> tuple[int, ...]:
        """Pids of the service that are not in the runner's tree (those inside a container)."""
        ...

    async def owns_listener(self, spec: ServiceSpec, launch: Launch, pids: Collection[int]) -> bool | None:
        """Whether the service's tree, cgroup or port mapping holds the port; None: cannot be seen."""
        ...


class Oracle(Protocol):
    """An engine's own estimator, as a second opinion beside the formulas."""

    async def ask(
        self, spec: ServiceSpec, build: EngineBuild, cards: tuple[CardId, ...], split: tuple[int, ...]
    ) -> OracleAnswer:
        """What it says of a launch; where it cannot, why. Never raises and is bounded in time.

        Args:
            spec: the service.
            build: the engine's program, beside which the estimator is looked for.
            cards: where the service would go.
            split: layers per card where they are known.
        """
        ...


class Footprints(Protocol):
    """Predicts what a service takes."""

    def trained_context(self, spec: ServiceSpec) -> int | None:
        """Tokens of context that the model was trained for; None where its files do not say."""
        ...

    def footprint(
        self, spec: ServiceSpec, count: int, card: CardModel, build: EngineBuild | None = None
    ) -> Footprint:
        """For `count` cards of a model. Declared, else learned, else estimated.

        Args:
            spec: the service.
            count: how many cards.
            card: the cards' model.
            build: the engine that will run it; None where it is not known.
        """
        ...

    def landmines(
        self, spec: ServiceSpec, count: int, card: CardModel, build: EngineBuild | None = None
    ) -> tuple[Landmine, ...]:
        """Known traps of such a launch, the fatal ones first."""
        ...

    def measured(
        self,
        spec: ServiceSpec,
        card: CardModel,
        build: EngineBuild | None,
        *,
        stage: str,
        used: tuple[int, ...],
        host: int,
        at: float,
        split: tuple[int, ...] = (),
        driver: str = "",
    ) -> Measurement:
        """What a launch was seen to take, under its fingerprint. Arguments as in `Measurement`."""
        ...

    def learn(self, measurement: Measurement) -> None:
        """Remember what a launch took, as `measured` made it."""
        ...


# --- store ----------------------------------------------------------------------------------


class Store(Protocol):
    """What survives the daemon. Every method returns once the data does.

    What must be known before an act (a switch, a step that begins, the desired state) survives a loss of
    power as well. What records an act that was done may be lost with the power, the latest first: services'
    states, the end of a step, and events.

    Raises (all methods):
        StoreError: disk full, locked, corrupt or not writable; the sentence says which.
    """

    async def save_service(self, record: ServiceRecord) -> None:
        """Keep a service's record, in place of the former one."""
        ...

    async def services(self) -> tuple[ServiceRecord, ...]:
        """All records."""
        ...

    async def delete_service(self, service: ServiceId) -> None:
        """Forget a service; its generation counter and sticky port stay."""
        ...

    async def next_generation(self, service: ServiceId) -> int:
        """A number never given before for this service."""
        ...

    async def sticky_ports(self) -> dict[ServiceId, int]:
        """The ports that services had."""
        ...

    async def save_port(self, service: ServiceId, port: int) -> None:
        """Remember a service's port."""
        ...

    async def desired(self) -> Desired | None:
        """What the box should be; None in a new state directory."""
        ...

    async def save_desired(self, desired: Desired) -> None:
        """Set what the box should be."""
        ...

    async def begin_switch(self, record: SwitchRecord) -> None:
        """Open a switch with its planned steps."""
        ...

    async def update_switch(self, record: SwitchRecord) -> None:
        """Change the switch's own fields (state, reason, left, ended); its steps are left."""
        ...

    async def commit_switch(self, record: SwitchRecord, desired: Desired) -> None:
        """End a switch and set the desired state in one transaction."""
        ...

    async def write_step(self, switch: SwitchId, step: StepRecord) -> None:
        """Write a step's state before or after its act."""
        ...

    async def open_switch(self) -> SwitchRecord | None:
        """The switch that had not ended, with its steps."""
        ...

    async def switch(self, switch: SwitchId) -> SwitchRecord | None:
        """One switch with its steps."""
        ...

    async def switches(self, limit: int = 50) -> tuple[SwitchRecord, ...]:
        """The latest switches, newest first, without steps."""
        ...

    async def save_lease(self, lease: Lease) -> None:
        """Keep a lease."""
        ...

    async def delete_lease(self, lease: LeaseId) -> None:
        """Forget a lease."""
        ...

    async def leases(self) -> tuple[Lease, ...]:
        """All leases, expired ones included."""
        ...

    async def add_measurement(self, measurement: Measurement) -> None:
        """Keep a measurement."""
        ...

    async def measurements(self) -> tuple[Measurement, ...]:
        """All measurements."""
        ...

    async def append_event(
        self, at: float, kind: EventKind, subject: str, message: str, data: Mapping[str, object]
    ) -> Event:
        """Keep an event and give it its number."""
        ...

    async def events(self, after: int = 0, limit: int = 1000) -> tuple[Event, ...]:
        """Events with a larger number, oldest first."""
        ...

    async def idempotent(self, key: str) -> tuple[str, str] | None:
        """(fingerprint of the request, JSON of the answer) kept under an idempotency key."""
        ...

    async def save_idempotent(self, key: str, fingerprint: str, answer: str, at: float) -> None:
        """Keep an answer under an idempotency key; old ones are dropped after a day."""
        ...

    async def close(self) -> None:
        """Close the file."""
        ...


# --- what the supervisor offers to api, cli, gateway and bench ----------------------------------


class Events(Protocol):
    """What happened, and what happens."""

    def publish(self, kind: EventKind, subject: str, message: str, **data: object) -> None:
        """Tell everyone. Never blocks and never raises."""
        ...

    def follow(self, after: int | None = None) -> AsyncIterator[Event]:
        """Events after a number (None: only new ones), then those to come."""
        ...


class Switching(Protocol):
    """Changing the box. Every caller goes through this one lock."""

    async def status(self) -> BoxStatus:
        """What the box is like. Answers from memory; never waits for a switch or a driver."""
        ...

    async def plan(self, request: SwitchRequest) -> Plan | Refused:
        """What a switch would do now.

        Raises:
            NotFoundError: no such mode, preset or service.
        """
        ...

    async def preflight(
        self, preset_or_mode: str, *, fit_context: bool = False, oracle: bool = False
    ) -> Preflight:
        """Whether a preset, on top of what runs, or a mode would start now, and what it would take.

        Args:
            preset_or_mode: its id.
            fit_context: find the largest context that fits now, for each service.
            oracle: ask the engines' own estimators for a second opinion.

        Raises:
            NotFoundError: neither a preset nor a mode.
        """
        ...

    async def begin(self, request: SwitchRequest) -> SwitchRecord | Refused:
        """Start a switch and return at once; an identical running one is joined.

        Raises:
            SwitchRunningError: a different switch is under way.
            NotFoundError: no such mode, preset or service.
        """
        ...

    async def wait(self, switch: SwitchId, timeout: float | None = None) -> SwitchRecord:
        """The record once the switch has ended, or as it is when the timeout passes."""
        ...

    async def cancel(self, switch: SwitchId, by: str = "") -> SwitchRecord:
        """Ask a running switch to stop and undo itself; returns at once."""
        ...

    async def switch(self, switch: SwitchId) -> SwitchRecord:
        """One switch with its steps.

        Raises:
            NotFoundError: no such switch.
        """
        ...

    async def switches(self, limit: int = 50) -> tuple[SwitchRecord, ...]:
        """The latest switches, newest first."""
        ...

    def catalog(self) -> Catalog:
        """The presets and modes in use."""
        ...

    async def reload(self) -> Catalog:
        """Read the files again; running services are not touched."""
        ...

    async def log(self, service: ServiceId, lines: int = 200) -> tuple[str, ...]:
        """The last lines of a service's log.

        Raises:
            NotFoundError: the service has never run.
        """
        ...

    def follow_log(self, service: ServiceId, after: int | None = None) -> AsyncIterator[tuple[int, str]]:
        """(offset after the line, line) from a byte offset (None: from the end), then those to come."""
        ...


class Leases(Protocol):
    """Claims on services."""

    async def take(
        self, holder: str, seconds: float, *, services: Sequence[ServiceId] | None = None, purpose: str = ""
    ) -> Lease:
        """Claim services (default: those of the present mode) for so long.

        Raises:
            NotFoundError: a named service does not run.
        """
        ...

    async def renew(self, lease: LeaseId, seconds: float) -> Lease:
        """Move a lease's end to `seconds` from now."""
        ...

    async def release(self, lease: LeaseId) -> Lease:
        """Give a lease back.

        Raises:
            NotFoundError: no such lease.
        """
        ...

    async def active(self) -> tuple[Lease, ...]:
        """Leases that hold now."""
        ...


class Admission(Protocol):
    """The gate in front of each service; the gateway asks it for every request."""

    def admits(self, service: ServiceId) -> bool:
        """Whether new requests may be sent to it."""
        ...

    def port(self, service: ServiceId) -> int | None:
        """Where it listens on loopback, None while it does not admit."""
        ...

    def resolve(self, model: str) -> ServiceId | None:
        """The service that answers to a model name: an id, a served name, an alias, or a route."""
        ...

    def entered(self, service: ServiceId) -> None:
        """A request was let in."""
        ...

    def left(self, service: ServiceId) -> None:
        """A request has ended."""
        ...

    def in_flight(self, service: ServiceId) -> int:
        """Requests that were let in and have not ended."""
        ...

    def mode(self) -> ModeId:
        """The mode that is committed."""
        ...

    def candidates(self, model: str) -> tuple[ServiceId, ...]:
        """Every service that answers to a model name: what `resolve` says first, then others by alias."""
        ...

    def generation(self, service: ServiceId) -> int | None:
        """Which attempt runs, None where there is none: connections to an earlier one are of no use."""
        ...

    def expected(self, service: ServiceId) -> bool:
        """Whether it will admit by itself: it starts, or is about to be started again."""
        ...

    def spec(self, service: ServiceId) -> ServiceSpec | None:
        """The service as it was asked for, None where there is none."""
        ...

    def subscribe(self, on_change: Callable[[], None]) -> Callable[[], None]:
        """Be called, in the event loop, after an answer may have changed; what is returned ends it."""
        ...
