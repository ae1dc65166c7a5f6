"""Footprints from what is declared, else from what was measured, else from the size of the files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from gpumod.core.cards import CardModel
from gpumod.core.footprint import Footprint, Measurement, Source
from gpumod.core.landmine import Landmine
from gpumod.core.ports import EngineBuild
from gpumod.core.spec import ServiceSpec
from gpumod.estimate.files import LookAt, model_files, on_disk
from gpumod.estimate.fingerprint import Fingerprint, fingerprint_of
from gpumod.estimate.learning import LEARNED_MARGIN, Learned, with_margin
from gpumod.estimate.prediction import Prediction
from gpumod.estimate.sizes import predict_from_sizes, start_rule


class ModelFootprints:
    """The footprints of services; what launches took is learned.

    Args:
        measurements: of earlier launches.
        look_at: what is at a path.
    """

    def __init__(self, measurements: Iterable[Measurement] = (), *, look_at: LookAt = on_disk) -> None:
        self._look_at = look_at
        self._learned = Learned()
        for measurement in measurements:
            self.learn(measurement)

    def footprint(
        self, spec: ServiceSpec, count: int, card: CardModel, build: EngineBuild | None = None
    ) -> Footprint:
        """What a service takes on `count` cards of a model. As the port says."""
        prediction = self._predict(spec, count, card)
        peak = self._learned.peak(self._fingerprint(spec, count, card, build).whole)
        resident = prediction.resident if spec.ram is None else spec.ram
        found = Footprint(
            prediction.cards,
            Source.ESTIMATED,
            resident,
            prediction.loading,
            peak,
            note=f"estimated: {'; '.join(prediction.notes)}",
            parts=prediction.parts,
        )
        if spec.vram is not None:
            # Another number of sizes than of cards is a mistake that is reported elsewhere.
            cards = spec.vram.per_card(count) or (max(spec.vram.sizes),) * count
            return replace(found, cards=cards, source=Source.DECLARED, note="declared by `vram:`")
        if peak is None:
            return found
        floor = start_rule(spec, count, card)
        cards = tuple(max(floor, with_margin(used)) for used in peak)
        note = f"the most that earlier launches took, and {LEARNED_MARGIN} more"
        return replace(found, cards=cards, source=Source.LEARNED, note=note)

    def landmines(
        self, spec: ServiceSpec, count: int, card: CardModel, build: EngineBuild | None = None
    ) -> tuple[Landmine, ...]:
        """Known traps of such a launch. As the port says."""
        del spec, count, card, build
        return ()

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
    ) -> Measurement:
        """What a launch was seen to take, under its fingerprint. As the port says."""
        name = self._fingerprint(spec, len(used), card, build)
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
        )

    def learn(self, measurement: Measurement) -> None:
        """Remember what a launch took."""
        self._learned.add(measurement)

    def _fingerprint(
        self, spec: ServiceSpec, count: int, card: CardModel, build: EngineBuild | None
    ) -> Fingerprint:
        return fingerprint_of(spec, count, card, build, self._look_at)

    def _predict(self, spec: ServiceSpec, count: int, card: CardModel) -> Prediction:
        return predict_from_sizes(spec, count, card, self._weights(spec))

    def _weights(self, spec: ServiceSpec) -> int | None:
        """Bytes of all files that are known; None where none is."""
        known = [seen.size for path in model_files(spec) if (seen := self._look_at(path)) is not None]
        return sum(known) if known else None
