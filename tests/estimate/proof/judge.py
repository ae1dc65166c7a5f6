"""What gpumod says of a launch before it, knowing nothing of its card or having seen other launches there.

Everything goes through `ModelFootprints`, as in the daemon: what a launch took is learned by its three
measurements, and what is said of the next one is its footprint.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from gpumod.core.footprint import Footprint, Measurement
from gpumod.core.units import MIB
from gpumod.estimate import ModelFootprints
from gpumod.estimate.learning import Seen
from gpumod.estimate.overheads import CONTEXT_PARTS
from gpumod.estimate.prediction import Prediction
from tests.estimate.proof.launches import Launch

_AT: Final = 4_000_000_000.0
"""Later than the files were written: a launch of what a file was before teaches nothing."""


@dataclass(frozen=True)
class Verdict:
    """A launch beside what was said of it.

    Args:
        launch: what happened.
        expected: bytes that were expected of it.
        charged: bytes that it was charged.
        teacher: the launch that was seen before.
    """

    launch: Launch
    expected: int
    charged: int
    teacher: Launch | None = None

    @property
    def error(self) -> int:
        """Bytes too much; below zero, too little."""
        return self.expected - self.launch.peak

    @property
    def share(self) -> float:
        """The error in percent."""
        return 100 * self.error / self.launch.peak

    @property
    def missed(self) -> bool:
        """Whether it is beyond the goal once a launch was seen: 2 %, and 100 MiB too little."""
        return abs(self.share) > 2 or self.error < -100 * MIB


def untaught(launches: Iterable[Launch]) -> tuple[Verdict, ...]:
    """With nothing learned."""
    store = ModelFootprints()
    return tuple(_by_formula(store, launch) for launch in launches)


def taught_by_another(teachers: Iterable[Launch], launches: Iterable[Launch]) -> tuple[Verdict, ...]:
    """Each launch after each launch of other files, and no other, was seen on the card.

    What such a launch teaches is the size of a context, in steps of 2 MiB; teachers that teach the same are
    asked for once.
    """
    known: dict[int, dict[str, Verdict]] = {}
    found = []
    for teacher in teachers:
        store = _after(teacher)
        context = _context(store, teacher)
        if context not in known:
            known[context] = {one.name: _by_formula(store, one) for one in launches}
        found += [
            Verdict(one, known[context][one.name].expected, known[context][one.name].charged, teacher)
            for one in launches
            if one.spec.model != teacher.spec.model
        ]
    return tuple(found)


def taught_by_its_like(launches: Iterable[Launch]) -> Iterator[Verdict]:
    """Each launch after each launch of the same files with other parameters, and no other, was seen."""
    everything = tuple(launches)
    for teacher in everything:
        like = [one for one in everything if one.files == teacher.files and one.changed(teacher)]
        if not like:
            continue
        store = _after(teacher)
        own = _asked(store, teacher)
        excess = max(Seen(one, Prediction(own.parts)).expected[0] for one in _measured(store, teacher))
        for one in like:
            answer = _asked(store, one)
            yield Verdict(one, _formula(answer) + excess, answer.cards[0], teacher)


def _after(teacher: Launch) -> ModelFootprints:
    store = ModelFootprints()
    for measurement in _measured(store, teacher):
        store.learn(measurement)
    return store


def _measured(store: ModelFootprints, launch: Launch) -> Iterator[Measurement]:
    for number, (stage, used) in enumerate(launch.stages.items()):
        yield store.measured(
            launch.spec, launch.card, launch.build, stage=stage, used=(used,), host=0, at=_AT + number
        )


def _asked(store: ModelFootprints, launch: Launch) -> Footprint:
    return store.footprint(launch.spec, 1, launch.card, launch.build)


def _by_formula(store: ModelFootprints, launch: Launch) -> Verdict:
    answer = _asked(store, launch)
    return Verdict(launch, _formula(answer), answer.cards[0])


def _formula(answer: Footprint) -> int:
    assert answer.formula is not None, answer.note
    return answer.formula[0]


def _context(store: ModelFootprints, launch: Launch) -> int:
    name = CONTEXT_PARTS[launch.spec.engine]
    return next(part.cards[0] for part in _asked(store, launch).parts if part.name == name)
