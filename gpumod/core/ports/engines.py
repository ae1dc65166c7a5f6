"""Ports to engines, and to what is known of their memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from gpumod.core.cards import CardModel
from gpumod.core.footprint import Footprint, Measurement
from gpumod.core.landmine import Landmine
from gpumod.core.names import CardId
from gpumod.core.preflight import OracleAnswer
from gpumod.core.service import (
    ExitReport,
    FileIdentity,
    Launch,
)
from gpumod.core.spec import EngineKind, ServiceSpec
from gpumod.core.states import ServiceState


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
        """Every file that a launch needs, all shards of a split model included.

        It may look into the model's folder, which a slow disk can hold up: not for the event loop.
        """
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
