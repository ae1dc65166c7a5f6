"""Footprints: from what is declared, else from what was measured, else from the formulas."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from gpumod.core.cards import CardModel
from gpumod.core.footprint import Footprint, Measurement, Source, Spread
from gpumod.core.landmine import Landmine
from gpumod.core.ports import EngineBuild
from gpumod.core.spec import DeclaredMemory, ServiceSpec
from gpumod.core.units import format_size
from gpumod.estimate.drift import drifted, misdeclared
from gpumod.estimate.files import LookAt, on_disk
from gpumod.estimate.landmines.find import find_landmines
from gpumod.estimate.landmines.gguf_facts import trained_context
from gpumod.estimate.landmines.trap import HostFacts, Launch
from gpumod.estimate.learning import (
    MARGIN,
    Basis,
    Learned,
    basis_of,
    estimate_margin,
    exact_size,
    nearest,
    with_margin,
)
from gpumod.estimate.predictor import Outlook, Predictor
from gpumod.planner.spreading import divide


class ModelFootprints:
    """The footprints of services; what launches took is learned.

    Any thread may ask; what is slow, a model's files, delays only who asks for it.

    Args:
        measurements: of earlier launches.
        look_at: what is at a path.
        caches: where models of the hub may lie.
        host: what is known of the box besides its cards.
    """

    def __init__(
        self,
        measurements: Iterable[Measurement] = (),
        *,
        caches: tuple[Path, ...] = (),
        look_at: LookAt | None = None,
        host: HostFacts | None = None,
    ) -> None:
        self._look_at: LookAt = look_at or (lambda path: on_disk(path, caches))
        self._host = host or HostFacts()
        self._learned = Learned()
        self._predictor = Predictor(self._look_at, self._learned, caches)
        for measurement in measurements:
            self.learn(measurement)

    def footprint(
        self, spec: ServiceSpec, count: int, card: CardModel, build: EngineBuild | None = None
    ) -> Footprint:
        """What a service takes on `count` cards of a model. As the port says."""
        outlook = self._predictor.look(spec, count, card, build)
        launches = [outlook.beside(one) for one in self._learned.of(outlook.name.whole)]
        own = basis_of(launches, outlook.prediction)
        basis = own or self._relative(outlook, card, build)
        found = _by_formula(outlook)
        if basis is not None:
            found = _learned(found, basis, outlook)
        if own is not None:
            host = max(one.measurement.host for one in launches)
            found = _seen_before(found, own, outlook, host)
        if spec.ram is not None:
            found = replace(found, resident=spec.ram)
        return found if spec.vram is None else _declared(found, spec.vram, count)

    def landmines(
        self, spec: ServiceSpec, count: int, card: CardModel, build: EngineBuild | None = None
    ) -> tuple[Landmine, ...]:
        """Known traps of such a launch. As the port says."""
        outlook = self._predictor.look(spec, count, card, build)
        return find_landmines(
            Launch(
                spec,
                count,
                card,
                build,
                gguf=outlook.facts.gguf,
                checkpoint=outlook.facts.checkpoint,
                trouble=outlook.facts.trouble,
                prediction=outlook.prediction if outlook.by_formula else None,
                host=self._host,
            )
        )

    def trained_context(self, spec: ServiceSpec) -> int | None:
        """Tokens of context that the model was trained for. As the port says."""
        facts = self._predictor.facts(spec)
        if facts.gguf is not None:
            return trained_context(facts.gguf)
        return facts.checkpoint.model.context if facts.checkpoint is not None else None

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
        """What a launch was seen to take, under its fingerprint. As the port says."""
        name = self._predictor.name(spec, len(used), card, build)
        return Measurement(
            fingerprint=name.whole,
            service=spec.id,
            card_name=card.name,
            count=len(used),
            stage=stage,
            used=used,
            host=host,
            at=at,
            family=name.family,
            spec=spec,
            split=split,
            driver=driver,
        )

    def learn(self, measurement: Measurement) -> None:
        """Remember what a launch took."""
        self._learned.add(measurement)

    def _relative(self, outlook: Outlook, card: CardModel, build: EngineBuild | None) -> Basis | None:
        """The launches of the setting nearest to this one, of the same files on the same build and cards."""
        if not outlook.by_formula:
            return None
        found = []
        for launches in self._learned.relatives(outlook.name.family):
            spec = launches[-1].spec if launches else None
            if spec is None:
                continue
            then = self._predictor.look(same_files(spec, outlook.spec), launches[-1].count, card, build)
            basis = basis_of([then.beside(one) for one in launches], outlook.prediction)
            found += [basis] if basis is not None else []
        return nearest(found)


def same_files(then: ServiceSpec, now: ServiceSpec) -> ServiceSpec:
    """A former service with its files where they are now: of one family they are the same."""
    draft = then.draft
    if draft is not None and draft.model is not None and now.draft is not None:
        draft = replace(draft, model=now.draft.model)
    return replace(then, model=now.model, mmproj=now.mmproj, draft=draft)


def _by_formula(outlook: Outlook) -> Footprint:
    prediction = outlook.prediction
    words = "by the formula, and a margin" if outlook.by_formula else "estimated"
    expected = prediction.cards
    if outlook.by_formula:
        # A size guessed from files has room in it already.
        expected = tuple(size + estimate_margin(outlook.spec, size) for size in expected)
    cards = tuple(max(size, outlook.floor) for size in expected)
    return Footprint(
        cards,
        Source.ESTIMATED,
        resident=prediction.resident,
        loading=prediction.loading,
        note=": ".join(one for one in (words, "; ".join(prediction.notes)) if one),
        parts=prediction.parts,
        formula=prediction.cards if outlook.by_formula else None,
        spread=_moved(prediction.spread, tuple(map(operator.sub, cards, prediction.cards))),
        split=prediction.split,
        pool=prediction.pool,
    )


def _moved(spread: Spread | None, more: tuple[int, ...]) -> Spread | None:
    """With so much more on each card, however the layers are divided."""
    return None if spread is None else Spread(spread.layers, _added(spread.fixed, more))


def _learned(found: Footprint, basis: Basis, outlook: Outlook) -> Footprint:
    """What launches took, and a margin; the margin stays on its card however the layers are divided."""
    prediction = outlook.prediction
    carried = basis.distance // len(basis.excess)
    expected = _added(prediction.cards, basis.excess)
    certain = exact_size(prediction) if outlook.by_formula else (0,) * len(prediction.cards)
    least = tuple(max(outlook.floor, size) for size in certain)
    cards = tuple(max(low, with_margin(size, carried)) for size, low in zip(expected, least, strict=True))
    spread = _moved(prediction.spread, tuple(map(operator.sub, cards, prediction.cards)))
    return replace(found, cards=cards, source=Source.LEARNED, spread=spread, note=_note(basis, carried))


def _note(basis: Basis, carried: int) -> str:
    if basis.same:
        return f"the most that earlier launches took, and {MARGIN} more"
    took = format_size(max(basis.newest.used))
    return (
        f"a launch with other parameters took {took} of a card; the formula's difference of "
        f"{format_size(carried)} carried over, and {MARGIN} more"
    )


def _seen_before(found: Footprint, own: Basis, outlook: Outlook, host: int) -> Footprint:
    """With what launches of the very same configuration took."""
    peak = _added(outlook.prediction.cards, own.seen)
    doubt = drifted(found.formula, peak) if found.formula is not None else ""
    warnings = (*found.warnings, doubt) if doubt else found.warnings
    return replace(found, learned_peak=peak, resident=max(found.resident, host), warnings=warnings)


def _declared(found: Footprint, vram: DeclaredMemory, count: int) -> Footprint:
    """What the user wrote is obeyed, and compared with what is known."""
    # Another number of sizes than of cards is a mistake that is reported elsewhere.
    cards = vram.per_card(count) or (max(vram.sizes),) * count
    doubt = ""
    if found.source is Source.LEARNED and found.learned_peak is None:
        doubt = misdeclared(cards, found.cards, "by launches with other parameters")
    elif found.learned_peak is None and found.formula is not None:
        doubt = misdeclared(cards, found.formula, "by the formula")
    # The layers are divided so that every card takes what was declared for it, where that can be.
    split = (divide(found.spread, cards) or ()) if found.spread is not None else found.split
    return replace(
        found,
        cards=cards,
        source=Source.DECLARED,
        note="declared by `vram:`",
        spread=None,
        split=split,
        warnings=(*found.warnings, doubt) if doubt else found.warnings,
    )


def _added(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(map(operator.add, one, other))
