"""What the formulas say of a service, with what launches taught about its cards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gpumod.core.cards import CardModel
from gpumod.core.footprint import Measurement
from gpumod.core.ports import EngineBuild
from gpumod.core.spec import EngineKind, ServiceSpec
from gpumod.estimate.errors import ModelFileError
from gpumod.estimate.files import LookAt, model_files
from gpumod.estimate.fingerprint import Fingerprint, fingerprint_of
from gpumod.estimate.formulas import USUAL, Overheads, predict_by_formula
from gpumod.estimate.learning import Learned, Seen
from gpumod.estimate.models import Kept, ModelFacts, ModelReader
from gpumod.estimate.overheads import CONTEXT_PARTS, overheads_of
from gpumod.estimate.prediction import Prediction
from gpumod.estimate.sizes import predict_from_sizes, start_rule
from gpumod.estimate.vllm.predict import OUTSIDE
from gpumod.estimate.vllm.setting import usual_utilisation


@dataclass(frozen=True, slots=True)
class Outlook:
    """A launch before it is made.

    Args:
        spec: the service.
        name: under which it is learned.
        facts: what its files say.
        prediction: by the formula, else from the size of the files.
        by_formula: which of the two.
        floor: bytes that have to be free on each card, or the engine does not start.
    """

    spec: ServiceSpec
    name: Fingerprint
    facts: ModelFacts
    prediction: Prediction
    by_formula: bool
    floor: int = 0

    def beside(self, launch: Measurement) -> Seen:
        """A launch of this very kind beside what is said of it here."""
        return Seen(launch, self.prediction, by_formula=self.by_formula)


class Predictor:
    """Looks at launches; what it said is kept as long as nothing that it depends on changes.

    Args:
        look_at: what is at a path.
        learned: what launches took.
        caches: where models of the hub may lie.
    """

    def __init__(self, look_at: LookAt, learned: Learned, caches: tuple[Path, ...] = ()) -> None:
        self._look_at = look_at
        self._learned = learned
        self._reader = ModelReader(look_at, caches)
        self._outlooks = Kept()
        self._overheads = Kept()

    def look(self, spec: ServiceSpec, count: int, card: CardModel, build: EngineBuild | None) -> Outlook:
        """What is known of a launch before it."""
        return self._look(spec, count, card, build, self._overheads_on(card, spec.engine, build))

    def facts(self, spec: ServiceSpec) -> ModelFacts:
        """What the files of a service's models say."""
        return self._reader.read(spec)

    def name(self, spec: ServiceSpec, count: int, card: CardModel, build: EngineBuild | None) -> Fingerprint:
        """Under which a launch is learned."""
        return fingerprint_of(spec, count, card, build, self._look_at)

    def _look(
        self,
        spec: ServiceSpec,
        count: int,
        card: CardModel,
        build: EngineBuild | None,
        overheads: Overheads,
    ) -> Outlook:
        name = self.name(spec, count, card, build)
        return self._outlooks.get(
            (name, spec, count, card, overheads),
            lambda: self._look_anew(name, spec, count, card, build, overheads),
        )

    def _look_anew(
        self,
        name: Fingerprint,
        spec: ServiceSpec,
        count: int,
        card: CardModel,
        build: EngineBuild | None,
        overheads: Overheads,
    ) -> Outlook:
        facts = self._reader.read(spec)
        try:
            found = predict_by_formula(spec, count, card, build, facts, overheads)
        except ModelFileError as error:
            found, facts = None, replace(facts, trouble=error)
        prediction = found or predict_from_sizes(spec, count, card, facts.size)
        floor = _floor(spec, count, card, build, found)
        return Outlook(spec, name, facts, prediction, found is not None, floor)

    def look_back(
        self, launch: Measurement, card: CardModel, build: EngineBuild | None, overheads: Overheads = USUAL
    ) -> Seen | None:
        """An earlier launch beside what the formulas say of it; None where it cannot be told any more.

        Args:
            launch: what it took.
            card: the model of its cards.
            build: the engine's program.
            overheads: what is assumed of the cards.
        """
        if launch.spec is None or self._changed_since(launch.spec, launch.at):
            return None
        outlook = self._look(launch.spec, launch.count, card, build, overheads)
        return outlook.beside(launch) if outlook.by_formula else None

    def _changed_since(self, spec: ServiceSpec, at: float) -> bool:
        """Whether a file is not there any more, or is newer than a moment."""
        seen = [self._look_at(path) for path in model_files(spec)]
        return any(one is None or any(changed > at * 1e9 for _, changed, _ in one.identity) for one in seen)

    def _overheads_on(self, card: CardModel, engine: EngineKind, build: EngineBuild | None) -> Overheads:
        """What launches on such cards taught; the usual where there was none."""
        launches = [self._telling(one) for one in self._learned.starts(card.name, engine)]
        if not launches or engine not in CONTEXT_PARTS:
            return USUAL
        key = (card, build, *((one.fingerprint, one.at) for one in launches))
        return self._overheads.get(key, lambda: self._learn_overheads(launches, card, engine, build))

    def _telling(self, start: Measurement) -> Measurement:
        """Of a launch, what tells the size of a context.

        llama.cpp takes what follows from the model with the first requests, vLLM what lies between tensors.
        The formulas tell the one apart, so that the start says most; the other they count as there.
        """
        if start.spec is None or start.spec.engine is not EngineKind.VLLM:
            return start
        return max(self._learned.of(start.fingerprint), key=lambda one: sum(one.used), default=start)

    def _learn_overheads(
        self, launches: Sequence[Measurement], card: CardModel, engine: EngineKind, build: EngineBuild | None
    ) -> Overheads:
        seen = [one for launch in launches if (one := self.look_back(launch, card, build)) is not None]
        return overheads_of(seen, engine, card)


def _floor(
    spec: ServiceSpec, count: int, card: CardModel, build: EngineBuild | None, found: Prediction | None
) -> int:
    """What has to be free on each card before a start."""
    outside = found.part(OUTSIDE) if found is not None else None
    if outside is None:
        return start_rule(spec, count, card)
    return start_rule(spec, count, card, utilisation=usual_utilisation(build), outside=max(outside.cards))
