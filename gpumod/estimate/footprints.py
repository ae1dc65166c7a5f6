"""Footprints from what is declared, else from what was measured, else from the size of the files."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable
from typing import Final

from gpumod.core.cards import HOST_CARD_NAME
from gpumod.core.footprint import Footprint, Measurement, Part, Source
from gpumod.core.spec import EngineKind, ServiceSpec
from gpumod.core.units import GIB, MIB, format_size
from gpumod.estimate.files import model_files, size_on_disk
from gpumod.estimate.host import host_needs

Sizes = Callable[[str], int | None]
"""Bytes of a file or of a folder's weights; None where they cannot be known."""

WEIGHTS_FACTOR: Final = 1.05
"""Padding of tensors, buffers that grow with the model."""
ALLOWANCE: Final = GIB
"""Per card, for the context's cache, compute buffers and the CUDA context, all of them unknown here."""
LEARNED_MARGIN: Final = 128 * MIB
LEARNED_FACTOR: Final = 1.02
"""A launch may take a little more than the largest one so far: pools grow with use."""
VLLM_UTILISATION: Final = 0.92
"""vLLM's default of `--gpu-memory-utilization` (0.9 before version 0.21)."""
VLLM_OUTSIDE: Final = 512 * MIB
VLLM_COMMUNICATION: Final = 256 * MIB
"""What vLLM takes outside its utilisation: the CUDA context, and buffers between several cards."""


class FileSizeFootprints:
    """The footprints of services; what launches took is learned.

    Args:
        measurements: of earlier launches.
        sizes: the size of a model's files.
    """

    def __init__(self, measurements: Iterable[Measurement] = (), *, sizes: Sizes = size_on_disk) -> None:
        self._sizes = sizes
        self._peaks: dict[str, tuple[int, ...]] = {}
        for measurement in measurements:
            self.learn(measurement)

    def footprint(
        self, spec: ServiceSpec, count: int, card_name: str, *, card_total: int | None = None
    ) -> Footprint:
        """What a service takes on `count` cards of a model.

        Args:
            spec: the service.
            count: how many cards.
            card_name: the cards' model; the host's own memory has `HOST_CARD_NAME`.
            card_total: bytes that can be allocated on one of the cards, where known.
        """
        peak = self._peaks.get(self.fingerprint(spec, count, card_name))
        weights = self._weights(spec)
        on_host = card_name == HOST_CARD_NAME
        resident, loading = host_needs(spec, weights or 0, count, on_host_card=on_host)
        if spec.vram is not None:
            # Another number of sizes than of cards is a mistake that is reported elsewhere.
            cards = spec.vram.per_card(count) or (max(spec.vram.sizes),) * count
            return Footprint(cards, Source.DECLARED, resident, loading, peak, note="declared by `vram:`")
        floor = 0 if on_host else self._vllm_floor(spec, count, card_total)
        if peak is not None:
            cards = tuple(max(floor, math.ceil(used * LEARNED_FACTOR) + LEARNED_MARGIN) for used in peak)
            margin = f"{LEARNED_FACTOR - 1:.0%} and {format_size(LEARNED_MARGIN)}"
            note = f"the most that earlier launches took, and {margin} more"
            return Footprint(cards, Source.LEARNED, resident, loading, peak, note)
        return self._estimate(spec, count, weights, floor, resident, loading)

    def learn(self, measurement: Measurement) -> None:
        """Remember what a launch took, if it is more than what others took under its fingerprint."""
        known = self._peaks.get(measurement.fingerprint)
        if known is None or len(known) != len(measurement.used):
            self._peaks[measurement.fingerprint] = measurement.used
        else:
            pairs = zip(known, measurement.used, strict=True)
            self._peaks[measurement.fingerprint] = tuple(max(pair) for pair in pairs)

    def fingerprint(self, spec: ServiceSpec, count: int, card_name: str) -> str:
        """Under which name measurements of this configuration are learned and looked up."""
        return memory_fingerprint(spec, count, card_name, self._sizes)

    def _weights(self, spec: ServiceSpec) -> int | None:
        """Bytes of all files that are known; None where none is."""
        known = [size for path in model_files(spec) if (size := self._sizes(path)) is not None]
        return sum(known) if known else None

    def _vllm_floor(self, spec: ServiceSpec, count: int, total: int | None) -> int:
        """What vLLM insists on: it refuses to start with less free than its utilisation of the card."""
        if spec.engine is not EngineKind.VLLM or total is None:
            return 0
        outside = VLLM_OUTSIDE + (VLLM_COMMUNICATION if count > 1 else 0)
        return math.ceil((spec.vllm.gpu_memory_utilization or VLLM_UTILISATION) * total) + outside

    def _estimate(
        self, spec: ServiceSpec, count: int, weights: int | None, floor: int, resident: int, loading: int
    ) -> Footprint:
        share = 0 if spec.llama.gpu_layers == 0 else math.ceil((weights or 0) * WEIGHTS_FACTOR / count)
        pool = spec.vllm.kv_cache_memory or 0
        size = share + pool + ALLOWANCE
        parts = [Part("weights", share, Source.ESTIMATED), Part("allowance", ALLOWANCE, Source.ESTIMATED)]
        if pool:
            parts.append(Part("cache", pool, Source.DECLARED))
        note = f"estimated: the files' size and {WEIGHTS_FACTOR - 1:.0%} more"
        note += f" over {count} cards" if count > 1 else ""
        note += f", {format_size(ALLOWANCE)} per card for cache and buffers"
        if weights is None:
            note = f"estimated: no model file is known, {format_size(ALLOWANCE)} per card; declare `vram:`"
        if floor and (not pool or floor > size):
            # Without a cache of a given size, vLLM fills its utilisation and takes no more.
            size, parts = floor, [Part("utilisation", floor, Source.ESTIMATED)]
            chosen = spec.vllm.gpu_memory_utilization
            written = f"{chosen}" if chosen else f"vLLM's default of {VLLM_UTILISATION}"
            note = (
                f"estimated: gpu_memory_utilization ({written}) of the card, and what vLLM takes outside it"
            )
        return Footprint((size,) * count, Source.ESTIMATED, resident, loading, None, note, tuple(parts))


def memory_fingerprint(spec: ServiceSpec, count: int, card_name: str, sizes: Sizes) -> str:
    """Names everything known before a launch that changes how much memory it takes.

    Ports, names, aliases, policies and declared sizes change nothing and are not in it.
    """
    facts = [
        spec.engine,
        [(path, sizes(path)) for path in model_files(spec)],
        (count, card_name),
        (spec.task, spec.context, spec.slots),
        repr((spec.kv_cache, spec.draft, spec.split, spec.llama, spec.vllm)),
        repr((spec.binary, spec.container, spec.command)),
        (spec.args, spec.env),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
