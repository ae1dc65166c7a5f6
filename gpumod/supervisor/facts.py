"""Gathers the facts that a plan is made from."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from gpumod.core.errors import TimedOutError
from gpumod.core.facts import Facts, RunningService, TargetFinding
from gpumod.core.footprint import Footprint, FootprintKey
from gpumod.core.names import CardId, ServiceId
from gpumod.core.spec import EngineKind
from gpumod.core.units import MIB
from gpumod.supervisor.model_files import read_models
from gpumod.supervisor.ports import PortBook

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from gpumod.core.cards import CardsReading
    from gpumod.core.landmine import Landmine
    from gpumod.core.plan import StartOrder
    from gpumod.core.ports import EngineBuild
    from gpumod.core.service import Desired, FileIdentity, Launch, RunKey, ServiceRecord
    from gpumod.core.spec import ServiceSpec
    from gpumod.supervisor.parts import Parts
    from gpumod.supervisor.world import World

_PORT_ROUNDS = 20
"""How often ports are chosen anew when foreign listeners sit on them."""


class FactFinder:
    """Looks at everything a plan depends on; nothing here changes anything."""

    def __init__(self, parts: Parts, world: World, ports: PortBook) -> None:
        self._parts = parts
        self._world = world
        self._ports = ports

    async def gather(
        self,
        specs: Iterable[ServiceSpec] = (),
        *,
        desired: Desired | None = None,
        untouched: Collection[ServiceId] = (),
    ) -> Facts:
        """Facts for planning towards these services.

        Args:
            specs: the services of the target; each gets a finding and its footprints.
            desired: what the box should be.
            untouched: services that stay as they run, whatever their files and programs are by now.

        Raises:
            TimedOutError: the disk with the models' files does not answer.
        """
        wanted = {spec.id: spec for spec in specs}
        reading, running = await self._look(None)
        present = {one.record.id for one in running}
        assigned = await self._assign_ports(tuple(wanted.values()), running)
        findings = await asyncio.gather(
            *(self._find(spec, assigned[spec.id], running, reading) for spec in wanted.values())
        )
        findings = [
            replace(one, same_launch=True) if name in untouched and name in present else one
            for name, one in zip(wanted, findings, strict=True)
        ]
        builds = [(spec, await self._build(spec)) for spec in wanted.values()]
        # They look at the models' files, which may be on a slow disk. Of what runs nothing is predicted: its
        # record has its footprint, and a disk that does not answer must not stand in the way of `blank`.
        footprints, landmines = (
            await read_models(self._parts, tuple(wanted), lambda: self._predict(builds, reading))
            if builds
            else ({}, {})
        )
        return Facts(
            now=self._parts.clock.now(),
            reading=reading,
            services=running,
            findings=dict(zip(wanted, findings, strict=True)),
            footprints=footprints,
            landmines=landmines,
            desired=desired,
        )

    async def now(self, only: Collection[CardId] | None = None) -> Facts:
        """Cards and running services alone: what is re-read directly before an act."""
        reading, running = await self._look(only)
        return Facts(now=self._parts.clock.now(), reading=reading, services=running)

    async def trees(self) -> dict[int, ServiceId]:
        """Which service each living process of ours belongs to."""
        return {pid: service for service, pids in (await self._pids()).items() for pid in pids}

    async def strays(self) -> dict[RunKey, tuple[int, ...]]:
        """Living processes of each attempt that survives SIGKILL and that no record is about.

        They are in no tree of a service: what they hold counts as foreign, as it gives no service room.
        """
        keys = self._world.unkillable_strays
        return {key: await self._wherever(key) for key in keys}

    async def _wherever(self, key: RunKey) -> tuple[int, ...]:
        """Processes of an attempt that may be any runner's."""
        trees = await asyncio.gather(*(runner.processes(key) for runner in self._parts.runners.values()))
        return tuple(process.pid for tree in trees for process in tree)

    async def compose(self, order: StartOrder, generation: int, reading: CardsReading) -> Launch | str:
        """The launch record of a start, or why it cannot be made."""
        engine = self._parts.engine(order.spec.engine)
        build = await engine.build(order.spec)
        if isinstance(build, str):
            return build
        files, missing = await self._files(order.spec)
        if missing:
            path, reason = missing[0]
            return f"{path}: {reason}"
        return self._compose(
            order.spec, build, files, order.cards, order.port, generation, order.footprint, reading
        )

    def _compose(
        self,
        spec: ServiceSpec,
        build: EngineBuild,
        files: tuple[FileIdentity, ...],
        cards: tuple[CardId, ...],
        port: int,
        generation: int,
        footprint: Footprint | None,
        reading: CardsReading,
    ) -> Launch:
        split = _shares(footprint) if footprint is not None and len(cards) > 1 else ()
        return self._parts.engine(spec.engine).compose(
            spec,
            build,
            cards=cards,
            card_indexes={card.id: card.index for card in reading.cards},
            port=port,
            files=files,
            generation=generation,
            split=split,
        )

    async def _look(self, only: Collection[CardId] | None) -> tuple[CardsReading, tuple[RunningService, ...]]:
        before = {record.id: record for record in self._world.all()}
        pids = await self._pids()
        ours = {pid: service for service, tree in pids.items() for pid in tree}
        reading = await self._parts.hardware.read(ours=ours, only=only)
        return reading, tuple(
            _running(
                before[record.id], pids[record.id], reading, self._world.unkillable(record.key)
            ).with_record(record)
            for record in self._world.all()
            if record.id in pids
        )

    async def _pids(self) -> dict[ServiceId, tuple[int, ...]]:
        """Processes of every service that may have any; a failed one may have left some."""
        records = [record for record in self._world.all() if record.launch is not None and record.runner]
        trees = await asyncio.gather(*(self._tree(record) for record in records))
        return {
            record.id: tree
            for record, tree in zip(records, trees, strict=True)
            if tree or record.state.may_hold_memory
        }

    async def _tree(self, record: ServiceRecord) -> tuple[int, ...]:
        found = await self._world.runner(record).processes(record.key)
        pids = [process.pid for process in found]
        if record.launch is not None:
            pids += await self._parts.engine(record.spec.engine).outside(record.spec, record.launch)
        return tuple(pids)

    async def _assign_ports(
        self, specs: tuple[ServiceSpec, ...], running: tuple[RunningService, ...]
    ) -> dict[ServiceId, int]:
        """Ports that nobody else listens on, as far as the user left the choice to us."""
        present = {one.record.id for one in running}
        assigned = self._ports.assign(specs, running)
        avoid: set[int] = set()
        for _ in range(_PORT_ROUNDS):
            chosen = [spec.id for spec in specs if spec.port is None and spec.id not in present]
            holders = await asyncio.gather(*(self._parts.host.port_holder(assigned[one]) for one in chosen))
            clashes = [
                assigned[one] for one, holder in zip(chosen, holders, strict=True) if holder is not None
            ]
            if not clashes:
                break
            avoid.update(clashes)
            assigned = self._ports.assign(specs, running, avoid)
        return assigned

    async def _build(self, spec: ServiceSpec) -> EngineBuild | None:
        build = await self._parts.engine(spec.engine).build(spec)
        return None if isinstance(build, str) else build

    async def _find(
        self, spec: ServiceSpec, port: int, running: tuple[RunningService, ...], reading: CardsReading
    ) -> TargetFinding:
        engine = self._parts.engine(spec.engine)
        build = await engine.build(spec)
        known_build = None if isinstance(build, str) else build
        files, missing = await self._files(spec)
        check = engine.check(spec, known_build)
        present = next((one for one in running if one.record.id == spec.id), None)
        holder = await self._parts.host.port_holder(port)
        if holder is not None and holder.pid is not None:
            holder = replace(holder, service=(await self.trees()).get(holder.pid))
        if holder is not None and holder.service == spec.id:
            holder = None
        same = False
        if (
            present is not None
            and present.record.launch is not None
            and known_build is not None
            and not missing
        ):
            record = present.record
            again = self._compose(
                spec, known_build, files, record.cards, port, record.generation, record.footprint, reading
            )
            same = again == record.launch and spec.memory_max == record.spec.memory_max
        return TargetFinding(
            port=port,
            port_holder=holder,
            same_launch=same,
            missing_files=missing,
            binary_problem=build if isinstance(build, str) else "",
            contradictions=check.contradictions,
            not_built=check.not_built,
            warnings=check.warnings,
            exclusive_start=engine.exclusive_start,
            multi_card_same_model=spec.engine is EngineKind.VLLM,
        )

    async def _files(self, spec: ServiceSpec) -> tuple[tuple[FileIdentity, ...], tuple[tuple[str, str], ...]]:
        engine = self._parts.engine(spec.engine)
        try:
            paths = await read_models(self._parts, [spec.id], lambda: engine.files(spec))
        except TimedOutError as error:
            return (), ((spec.model or spec.id, error.detail),)
        answers = await asyncio.gather(*(self._parts.host.identify(path) for path in paths))
        found = tuple(answer for answer in answers if not isinstance(answer, str))
        missing = tuple(
            (path, answer) for path, answer in zip(paths, answers, strict=True) if isinstance(answer, str)
        )
        return found, missing

    def _predict(
        self,
        builds: Iterable[tuple[ServiceSpec, EngineBuild | None]],
        reading: CardsReading,
    ) -> tuple[Mapping[FootprintKey, Footprint], Mapping[FootprintKey, tuple[Landmine, ...]]]:
        """The footprint of each service on each model of card, and the traps in its way."""
        port = self._parts.footprints
        models = {card.name: card.model for card in reading.cards}
        footprints, landmines = {}, {}
        for spec, build in builds:
            count = len(spec.cards.exact) or spec.cards.count
            for name, model in models.items():
                key = FootprintKey(spec.id, count, name)
                footprints[key] = port.footprint(spec, count, model, build)
                traps = port.landmines(spec, count, model, build)
                landmines[key] = traps if footprints[key].learned_peak is None else _disproved(traps)
        return footprints, landmines


def _disproved(traps: Iterable[Landmine]) -> tuple[Landmine, ...]:
    """Traps of a configuration that was launched before and ran: what cannot work has worked."""
    return tuple(
        replace(one, fatal=False, detail=f"{one.detail} (though the same launch has worked before)")
        if one.fatal
        else one
        for one in traps
    )


def _shares(footprint: Footprint) -> tuple[int, ...]:
    """Layers per card where they are known, else what it takes on each card, in MiB."""
    return footprint.split or tuple(max(1, size // MIB) for size in footprint.cards)


def _running(
    record: ServiceRecord, pids: tuple[int, ...], reading: CardsReading, unkillable: Collection[int]
) -> RunningService:
    held: dict[CardId, int] = {}
    for card in reading.cards:
        ours = [process.used for process in card.processes if process.service == record.id]
        told = [used for used in ours if used is not None]
        if ours and len(told) == len(ours):
            held[card.id] = sum(told)
    return RunningService(
        record=record,
        alive=bool(pids),
        held=tuple(sorted(held.items())),
        unkillable=tuple(sorted(set(pids) & set(unkillable))),
    )
