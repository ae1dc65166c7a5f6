"""A whole simulated box: cards, processes, engines and a store in memory, under a real supervisor.

Time is virtual, nothing is started, and a restart of the daemon is a second supervisor over the
same box.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, TypeVar

from gpumod.core.bounds import DEFAULT_BOUNDS, Bounds
from gpumod.core.footprint import Footprint, Measurement, Source
from gpumod.core.names import BLANK, CardId, ModeId, PresetId, ServiceId
from gpumod.core.spec import (
    BLANK_MODE,
    CardRequest,
    Catalog,
    CommandOptions,
    DeclaredMemory,
    EngineKind,
    Mode,
    ServiceSpec,
)
from gpumod.core.switch import SwitchRecord, SwitchRequest
from gpumod.core.units import GIB
from gpumod.supervisor.parts import Parts
from gpumod.supervisor.supervisor import Supervisor
from gpumod.testing.clock import FakeClock
from gpumod.testing.engine import FakeEngine
from gpumod.testing.hardware import FakeHardware, fake_cards
from gpumod.testing.probe import FakeHostProbe
from gpumod.testing.runner import FakeProcesses, FakeRunner
from gpumod.testing.store import MemoryStore

T = TypeVar("T")

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpumod.core.cards import CardModel
    from gpumod.core.landmine import Landmine
    from gpumod.core.ports import EngineBuild, Footprints, Oracle, RunRequest
    from gpumod.core.service import RunKey


class DeclaredFootprints:
    """Footprints that are exactly what the preset declares; remembers what it was taught.

    Attributes:
        mined: the landmines of services.
    """

    def __init__(self) -> None:
        self.learned: list[Measurement] = []
        self.mined: dict[ServiceId, tuple[Landmine, ...]] = {}

    def footprint(
        self, spec: ServiceSpec, count: int, card: CardModel, build: EngineBuild | None = None
    ) -> Footprint:
        """The declared size on each card."""
        del card, build
        sizes = (spec.vram.per_card(count) if spec.vram else None) or (GIB,) * count
        return Footprint(sizes, Source.DECLARED)

    def landmines(
        self, spec: ServiceSpec, count: int, card: CardModel, build: EngineBuild | None = None
    ) -> tuple[Landmine, ...]:
        """Those of `mined`."""
        del count, card, build
        return self.mined.get(spec.id, ())

    def trained_context(self, spec: ServiceSpec) -> int | None:
        """Of no model anything is known."""
        del spec
        return None

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
        """Under the service's id: nothing else changes memory here."""
        del build
        return Measurement(
            str(spec.id),
            spec.id,
            card.name,
            len(used),
            stage,
            used,
            host,
            at,
            spec=spec,
            split=split,
            driver=driver,
        )

    def learn(self, measurement: Measurement) -> None:
        """Remember."""
        self.learned.append(measurement)


def service(name: str, size: int = 10 * GIB, cards: int = 1, **fields: object) -> ServiceSpec:
    """A service of the `command` engine that takes `size` bytes on each of its cards."""
    spec = ServiceSpec(
        id=ServiceId(name),
        preset=PresetId(name),
        engine=EngineKind.COMMAND,
        vram=DeclaredMemory((size,)),
        cards=CardRequest(count=cards),
        command=CommandOptions(("/fake/engine",)),
    )
    for key, value in fields.items():
        object.__setattr__(spec, key, value)
    return spec


def mode(name: str, *services: ServiceSpec, **fields: object) -> Mode:
    """A mode of these services."""
    return Mode(ModeId(name), services=services, **fields)  # type: ignore[arg-type]  # the caller's fields


class FakeDisk:
    """Where models' files are; it answers at once, or not at all."""

    def __init__(self) -> None:
        self.hangs = False

    async def run(self, call: Callable[[], T], bound: float) -> T:
        """The call's result.

        Raises:
            TimeoutError: it hangs; nobody waits for that here.
        """
        del bound
        if self.hangs:
            raise TimeoutError
        return call()


class SimulatedBox:
    """A box whose every part can be made to misbehave.

    Attributes:
        predicts: the footprints in use; `footprints`, unless it was made with others, or with a function
            that makes each daemon its own.
        takes: bytes per card that a service really takes, where that is not what it declares.
    """

    def __init__(
        self,
        *modes: Mode,
        cards: int = 2,
        bounds: Bounds = DEFAULT_BOUNDS,
        card_size: int = 24 * GIB,
        footprints: Footprints | None = None,
        predicts: Callable[[], Footprints] | None = None,
    ) -> None:
        self.clock = FakeClock()
        self.processes = FakeProcesses(on_start=self._take, on_gone=self._give_back, now=self.clock.now)
        self.hardware = FakeHardware(fake_cards(cards, card_size), self.clock, bounds=bounds)
        self.engine = FakeEngine(EngineKind.COMMAND)
        self.exclusive = FakeEngine(EngineKind.VLLM, exclusive_start=True)
        self.oracles: dict[EngineKind, Oracle] = {}
        self.disk = FakeDisk()
        self.probe = FakeHostProbe()
        self.store = MemoryStore(self.clock)
        self.llama = FakeEngine(EngineKind.LLAMA_CPP)
        self.footprints = DeclaredFootprints()
        self._make_footprints = predicts or (lambda: footprints or self.footprints)
        self.takes: dict[ServiceId, int] = {}
        self.bounds = bounds
        self.catalog = Catalog(
            presets=tuple({spec.id: spec for one in modes for spec in one.services}.values()),
            modes=(BLANK_MODE, *modes),
        )
        self.boot_id = "boot-1"
        self._ids = itertools.count(1)
        self.supervisor = self._build()

    async def start(self, *, boot: str = "last", rebooted: bool = False) -> None:
        """Start the daemon's supervisor and wait until it has converged."""
        await self.supervisor.start(boot=boot, rebooted=rebooted)
        await self.supervisor.settled()

    async def restart(self, *, boot: str = "last", rebooted: bool = False) -> None:
        """Close the supervisor and start the next one over what is left."""
        await self.supervisor.close()
        self.store = self.store.reopen()
        self.supervisor = self._build()
        await self.start(boot=boot, rebooted=rebooted)

    async def switch(self, target: str, **fields: object) -> SwitchRecord:
        """Switch to a mode and wait for the end; a refusal fails the test that asks."""
        begun = await self.supervisor.begin(SwitchRequest(mode=ModeId(target), **fields))  # type: ignore[arg-type]
        assert isinstance(begun, SwitchRecord), begun
        return begun if begun.state.ended else await self.supervisor.wait(begun.id)

    async def blank(self) -> SwitchRecord:
        """Switch to blank."""
        return await self.switch(BLANK, force=True)

    def running(self) -> set[str]:
        """Services that have living processes."""
        return {spec.id for spec in self.catalog.presets if self.processes.pids(spec.id)}

    def _build(self) -> Supervisor:
        self.predicts: Footprints = self._make_footprints()
        parts = Parts(
            clock=self.clock,
            store=self.store,
            hardware=self.hardware,
            host=self.probe,
            runners={"fake": FakeRunner(self.processes)},
            runner="fake",
            engines={
                EngineKind.COMMAND: self.engine,
                EngineKind.LLAMA_CPP: self.llama,
                EngineKind.VLLM: self.exclusive,
            },
            footprints=self.predicts,
            oracles=self.oracles,
            load_catalog=lambda: self.catalog,
            log_path=lambda name: f"/nonexistent/{name}.log",
            new_id=lambda: f"id-{next(self._ids)}",
            run_command=_run_nothing,
            version="test",
            read_models=self.disk,
            bounds=self.bounds,
            boot_id=self.boot_id,
        )
        return Supervisor(parts)

    def _take(self, key: RunKey, request: RunRequest, pid: int) -> None:
        cards = [CardId(card) for card in dict(request.env)["CUDA_VISIBLE_DEVICES"].split(",") if card]
        spec = next(one for one in self.catalog.presets if one.id == key.service)
        declared = (spec.vram.per_card(len(cards)) if spec.vram else None) or (GIB,) * len(cards)
        for card, size in zip(cards, declared, strict=True):
            self.hardware.hold(pid, card, self.takes.get(key.service, size))

    def _give_back(self, pid: int) -> None:
        self.hardware.release(pid)


async def _run_nothing(argv: tuple[str, ...], seconds: float) -> str:
    del argv, seconds
    return ""
