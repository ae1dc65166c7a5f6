"""What a preflight tells beyond the plan: each service's memory, landmines, advice and second opinions."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from gpumod.core.cards import HOST_CARD_NAME
from gpumod.core.names import HOST_CARD
from gpumod.core.plan import RefusalCode, Refused
from gpumod.core.preflight import OracleAnswer, OracleDevice, Preflight, ServicePreflight
from gpumod.core.units import GIB, format_size
from gpumod.estimate.advice import Advisor, Room
from gpumod.planner.budget import sizes_on
from gpumod.planner.cards import describe, exact_ids, landmines_on
from gpumod.planner.preflight import Look, looks
from gpumod.supervisor.model_files import read_models

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gpumod.core.cards import CardModel
    from gpumod.core.facts import Facts
    from gpumod.core.footprint import Footprint
    from gpumod.core.plan import Plan
    from gpumod.core.ports import EngineBuild
    from gpumod.core.spec import ServiceSpec
    from gpumod.supervisor.parts import Parts

_MEMORY: Final = frozenset(
    {RefusalCode.DOES_NOT_FIT, RefusalCode.HOST_MEMORY, RefusalCode.SEARCH_LIMIT, RefusalCode.LANDMINE}
)
"""Refusals that other sizes may cure."""
_CONTEXT: Final = GIB
"""What an oracle's CUDA context takes at most while it runs."""
_STATE: Final = "recurrent state"
"""An oracle really allocates it (common/fit.cpp: the memory of hybrid models is not only measured)."""
_IN_TABLE: Final = {
    "weights": "model",
    "KV cache": "context",
    _STATE: "context",
    "compute buffer": "compute",
}
"""The formulas' parts that llama.cpp's own table has, and its column."""


class PreflightReport:
    """Makes the report of a plan, or of the refusals in its place."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._asking = asyncio.Lock()
        """An oracle takes a little of its cards while it runs: one at a time."""

    async def of(
        self, outcome: Plan | Refused, facts: Facts, *, fit_context: bool, oracle: bool
    ) -> Preflight:
        """Every service of the target.

        Args:
            outcome: what the planner said.
            facts: what it decided from.
            fit_context: also find the largest context that fits.
            oracle: also ask the engines' own estimators.
        """
        found = []
        for look in looks(facts, outcome.target, outcome):
            build = await self._parts.engine(look.spec.engine).build(look.spec)
            known = None if isinstance(build, str) else build
            # Formulas read models' files, and a search asks them many times.
            service = await read_models(
                self._parts,
                [look.spec.id],
                partial(self._service, look, outcome, facts, known, fit_context=fit_context),
            )
            if oracle:
                service = replace(service, oracle=await self._oracle(look, build, facts))
            found.append(service)
        return Preflight(outcome, tuple(found))

    def _service(
        self,
        look: Look,
        outcome: Plan | Refused,
        facts: Facts,
        build: EngineBuild | None,
        *,
        fit_context: bool,
    ) -> ServicePreflight:
        models = {card.id: card.model for card in facts.reading.cards}
        free = dict(look.room)
        name = models[look.cards[0]].name if look.cards else ""
        names = dict.fromkeys(models[card].name for card in look.cards)
        traps = dict.fromkeys(one for name in names for one in landmines_on(facts, look.spec, name))
        spec = _exact(look.spec, facts)
        wanted = not look.runs and isinstance(outcome, Refused) and _is_about_memory(outcome, spec)
        return ServicePreflight(
            service=look.spec.id,
            runs=look.runs,
            cards=look.cards,
            card_name=name,
            available=tuple(free.get(card, 0) for card in look.cards),
            footprint=look.footprint,
            landmines=tuple(traps),
            advice=self._advisor(look, facts, build).advice(spec) if wanted else (),
            fitted=self._advisor(look, facts, build).largest_context(spec) if fit_context else None,
        )

    def _advisor(self, look: Look, facts: Facts, build: EngineBuild | None) -> Advisor:
        models = {card.id: card.model for card in facts.reading.cards}
        port = self._parts.footprints

        def predict(spec: ServiceSpec, count: int, card: CardModel) -> Footprint:
            footprint = port.footprint(spec, count, card, build)
            if card.name != HOST_CARD_NAME:
                return footprint
            # There both kinds of memory are one.
            return replace(footprint, cards=sizes_on(footprint, (HOST_CARD,) * count), resident=0, loading=0)

        def works(spec: ServiceSpec, count: int, card: CardModel) -> bool:
            return not any(one.fatal for one in port.landmines(spec, count, card, build))

        return Advisor(
            predict,
            tuple(Room(card, models[card], size) for card, size in look.room),
            look.host,
            port.trained_context(look.spec),
            works,
        )

    async def _oracle(self, look: Look, build: EngineBuild | str, facts: Facts) -> OracleAnswer:
        oracle = self._parts.oracles.get(look.spec.engine)
        if oracle is None:
            return OracleAnswer(trouble=f"{look.spec.engine} has no estimator of its own")
        if isinstance(build, str):
            return OracleAnswer(trouble=build)
        if not look.cards:
            return OracleAnswer(trouble="there is no card to ask it about")
        if busy := _no_place(look, facts):
            return OracleAnswer(trouble=busy)
        split = look.footprint.split if look.footprint is not None else ()
        async with self._asking:
            answer = await oracle.ask(look.spec, build, look.cards, split)
        return replace(answer, devices=tuple(_beside(answer.devices, look.footprint)))


def _no_place(look: Look, facts: Facts) -> str:
    """Why an oracle may not run on the cards now; empty where it may."""
    parts = look.footprint.parts if look.footprint is not None else ()
    takes = _CONTEXT + max((max(one.cards, default=0) for one in parts if one.name == _STATE), default=0)
    for card in facts.reading.cards:
        if card.id not in look.cards or card.is_host:
            continue
        starting = [
            one.record.id
            for one in facts.services
            if one.record.state.is_starting and card.id in one.record.cards
        ]
        if starting:
            return f"{starting[0]} is starting on {describe(card)}, and an estimator there could disturb it"
        if card.free - card.headroom < takes:
            room = format_size(max(0, card.free - card.headroom))
            return (
                f"it takes up to {format_size(takes)} of {describe(card)} while it runs, and {room} are free"
            )
    return ""


def _beside(devices: tuple[OracleDevice, ...], footprint: Footprint | None) -> Iterable[OracleDevice]:
    """The formula's number for the same buffers, beside each device's."""
    parts = [one for one in (footprint.parts if footprint else ()) if one.name in _IN_TABLE]
    cards = [one for one in devices if one.device != "Host"]
    for device in devices:
        formula = None
        if parts and device.device == "Host":
            formula = sum(part.host for part in parts)
            if not cards:
                formula += sum(part.size for part in parts)
        elif parts:
            at = cards.index(device)
            formula = sum(part.cards[at] for part in parts if at < len(part.cards))
        yield replace(device, formula=formula)


def _exact(spec: ServiceSpec, facts: Facts) -> ServiceSpec:
    """The service with the cards that it names by their UUIDs."""
    ids = exact_ids(facts.reading, spec.cards) if spec.cards.exact else None
    return spec if ids is None else replace(spec, cards=replace(spec.cards, exact=tuple(map(str, ids))))


def _is_about_memory(refused: Refused, spec: ServiceSpec) -> bool:
    """Whether what is refused of this service, or of all together, may be a matter of sizes."""
    own = [one for one in refused.reasons if one.service in {None, spec.id}]
    return any(one.code in _MEMORY for one in own)
