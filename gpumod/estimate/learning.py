"""What launches were seen to take, and what follows from it for the next one. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from gpumod.core.footprint import Measurement, Stage
from gpumod.core.spec import EngineKind, ServiceSpec
from gpumod.core.units import MIB
from gpumod.estimate.prediction import Prediction

POOLS: Final = "CUDA graphs and pools"
"""The part that comes with the first requests."""
_EXACT: Final = frozenset({"weights", "KV cache", "recurrent state", "draft model", "draft KV cache"})
_CONTEXTS: Final = frozenset({"CUDA context", "outside vLLM's budget"})
"""Parts of which every process has the same, whatever its setting."""
_LEAST_MARGIN: Final = 32 * MIB
_MARGIN_SHARE: Final = 0.005
MARGIN: Final = "0.5 % (32 MiB at least)"
"""Launches of one configuration differ by what is loaded lazily: cuBLAS's workspace (32 MiB on Hopper and
newer, 4 MiB before), kernels, and pools that grow by 2 MiB. Growth is seen, and learned as the peak.
"""
_VLLM_OUTSIDE_MARGIN: Final = 128 * MIB
_VLLM_MARGIN: Final = 512 * MIB
_VLLM_MARGIN_SHARE: Final = 0.04
_CARRIED_SHARE: Final = 0.01
"""Of the formula's difference to another setting, what it may be wrong by: its caches and weights are exact,
its compute buffers are not quite."""
_KEPT: Final = 60
"""Measurements of one configuration that are looked at, the newest: an odd one is forgotten in the end."""
_SETTINGS: Final = 12
"""Settings of one family that are looked at: each costs a formula."""
_STARTS: Final = 9
"""Launches on a model of card that are looked at: enough to outvote an odd one, few to follow a change."""
_WHOLE: Final = 0.9
"""A process tree that holds less than so much of its weights was not seen as a whole."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A measurement beside what the formulas say of the launch that was measured.

    Args:
        measurement: what it took.
        prediction: for the service as it was launched.
        by_formula: whether the prediction is worth more than a guess.
    """

    measurement: Measurement
    prediction: Prediction
    by_formula: bool = True

    @property
    def excess(self) -> tuple[int, ...]:
        """Bytes seen on each card beyond the formulas; below zero where these say too much."""
        formula = cards_at(self.prediction, self.measurement.split)
        return tuple(used - size for used, size in zip(self.measurement.used, formula, strict=True))

    @property
    def expected(self) -> tuple[int, ...]:
        """The same, once it has worked for a while.

        Before the first request, what comes with requests is not there yet and is not missed. One short
        request, which warms a launch up, does not take all of that yet.
        """
        return tuple(map(sum, zip(self.excess, self._to_come, strict=True)))

    @property
    def _to_come(self) -> tuple[int, ...]:
        pools = self.prediction.part(POOLS)
        ready = self.measurement.stage == Stage.READY
        return pools.cards if ready and pools is not None else (0,) * self.measurement.count

    @property
    def whole(self) -> bool:
        """Whether all of it can have been seen: what a card holds includes the weights that are on it."""
        weights = self.prediction.part("weights")
        if not self.by_formula or weights is None or self.measurement.split != self.prediction.split:
            return all(self.measurement.used)
        pairs = zip(self.measurement.used, weights.cards, strict=True)
        return all(used > 0 and used >= _WHOLE * size for used, size in pairs)


@dataclass(frozen=True, slots=True)
class Basis:
    """The launches that a charge is learned from.

    Args:
        excess: bytes on each card beyond the formula that a launch of this kind may take.
        seen: bytes on each card beyond the formula that one of them was seen to take.
        newest: the last one of them.
        distance: bytes that the formula says this setting differs by; 0 for the same one.
    """

    excess: tuple[int, ...]
    seen: tuple[int, ...]
    newest: Measurement
    distance: int = 0

    @property
    def same(self) -> bool:
        """Whether the formula knows of no difference to this setting."""
        return self.distance == 0


def cards_at(prediction: Prediction, split: tuple[int, ...]) -> tuple[int, ...]:
    """What the formulas say of each card when the cards take so many layers."""
    spread = prediction.spread
    if spread is None or not split or split == prediction.split or len(split) != len(spread.fixed):
        return prediction.cards
    return spread.cards(split)


def exact_size(prediction: Prediction) -> tuple[int, ...]:
    """Bytes on each card that follow from the files and the parameters alone: less cannot be enough."""
    exact = [part.cards for part in prediction.parts if part.name in _EXACT]
    return tuple(map(sum, zip(*exact, strict=True))) if exact else (0,) * len(prediction.cards)


def with_margin(used: int, carried: int = 0) -> int:
    """What a service is charged on a card where it was seen, or is expected, to take so many bytes.

    Args:
        used: those bytes.
        carried: how many of them are a difference that the formula was asked for.
    """
    margin = max(_LEAST_MARGIN, math.ceil(used * _MARGIN_SHARE))
    return used + margin + math.ceil(abs(carried) * _CARRIED_SHARE)


def estimate_margin(spec: ServiceSpec, size: int) -> int:
    """What a service is charged on a card beyond its formula before any launch of its files was seen.

    Of 137 recorded launches of llama.cpp the formula was never under by more than 30 MiB. vLLM inside a
    utilisation takes what it was given, and a little outside it. With a cache of a given size all it takes
    beside is its own affair: its allocator's gaps and the copies it makes of weights are known to some
    4 % only (`docs/footprints.md`).
    """
    if spec.engine is not EngineKind.VLLM:
        return with_margin(size) - size
    if spec.vllm.kv_cache_memory is None:
        return max(_VLLM_OUTSIDE_MARGIN, math.ceil(size * _MARGIN_SHARE))
    return max(_VLLM_MARGIN, math.ceil(size * _VLLM_MARGIN_SHARE))


def basis_of(launches: Sequence[Seen], prediction: Prediction) -> Basis | None:
    """What launches of one configuration teach about a setting; None where none of them was seen whole."""
    whole = [one for one in launches if one.whole]
    if not whole:
        return None
    most = tuple(map(max, zip(*(one.expected for one in whole), strict=True)))
    excess = _carried(most, whole[0].prediction, prediction)
    seen = tuple(map(max, zip(*(one.excess for one in whole), strict=True)))
    newest = max((one.measurement for one in whole), key=lambda one: one.at)
    formula = cards_at(whole[0].prediction, prediction.split)
    distance = sum(abs(new - then) for new, then in zip(prediction.cards, formula, strict=True))
    return Basis(excess, seen, newest, distance)


def _carried(excess: tuple[int, ...], then: Prediction, now: Prediction) -> tuple[int, ...]:
    """What one setting took beyond the formula, for another one.

    Where the formula said too much, it says less too much of a setting whose buffers are smaller: all of
    that taken off would promise less than is needed.
    """
    shares = (
        (min(1.0, new / old) if old else 1.0) for new, old in zip(_elastic(now), _elastic(then), strict=True)
    )
    return tuple(
        size if size >= 0 else math.ceil(size * share) for size, share in zip(excess, shares, strict=True)
    )


def _elastic(prediction: Prediction) -> tuple[int, ...]:
    """Bytes per card that the formula may be wrong about and that grow with the setting."""
    parts = [part.cards for part in prediction.parts if part.name not in _EXACT | _CONTEXTS]
    return tuple(map(sum, zip(*parts, strict=True))) if parts else (0,) * len(prediction.cards)


def nearest(bases: Iterable[Basis]) -> Basis | None:
    """The one whose setting differs least by the formula, and of equals the newest."""
    return min(bases, key=lambda one: (one.distance, -one.newest.at), default=None)


class Learned:
    """The measurements of all launches, by fingerprint and by family."""

    def __init__(self) -> None:
        self._launches: dict[str, tuple[Measurement, ...]] = {}
        self._families: dict[str, tuple[str, ...]] = {}
        self._starts: dict[tuple[str, EngineKind], tuple[Measurement, ...]] = {}
        self._newest: Measurement | None = None

    def add(self, measurement: Measurement) -> None:
        """Remember what a launch took."""
        name, family = measurement.fingerprint, measurement.family
        alike = (*self._launches.get(name, ()), measurement)
        self._launches[name] = tuple(sorted(alike, key=lambda one: one.at))[-_KEPT:]
        if family:
            others = (one for one in self._families.get(family, ()) if one != name)
            self._families[family] = (*others, name)
        if measurement.stage == Stage.READY and measurement.spec is not None:
            kind = (measurement.card_name, measurement.spec.engine)
            starts = (*self._starts.get(kind, ()), measurement)
            self._starts[kind] = tuple(sorted(starts, key=lambda one: -one.at))[:_STARTS]
        if measurement.driver and (self._newest is None or measurement.at >= self._newest.at):
            self._newest = measurement

    def of(self, fingerprint: str) -> tuple[Measurement, ...]:
        """Launches of one configuration, oldest first.

        Where some were under the driver that the last launch of all had, only those count: another driver's
        context has another size.
        """
        known = self._launches.get(fingerprint, ())
        driver = self._newest.driver if self._newest is not None else ""
        return tuple(one for one in known if one.driver == driver) or known

    def relatives(self, family: str) -> tuple[tuple[Measurement, ...], ...]:
        """Launches of the last settings of the same files, build and cards, by setting."""
        return tuple(self.of(name) for name in self._families.get(family, ())[-_SETTINGS:])

    def starts(self, card_name: str, engine: EngineKind) -> tuple[Measurement, ...]:
        """The latest launches of an engine on a model of card, before their first request; newest first."""
        known = self._starts.get((card_name, engine), ())
        driver = self._newest.driver if self._newest is not None else ""
        return tuple(one for one in known if one.driver == driver) or known
