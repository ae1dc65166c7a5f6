"""A second opinion: reads a card's memory by itself, all the time, and trusts nothing that gpumod says."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from typing import NamedTuple, Self

import pynvml

_INTERVAL = 0.001


class Sample(NamedTuple):
    """Unix time in seconds, and bytes that were free then."""

    at: float
    free: int


class Witness:
    """Samples a card in a thread of its own, as often as the driver answers, while a `with` block lasts."""

    def __init__(self, uuid: str) -> None:
        self._handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        self._samples: list[Sample] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=f"witness-{uuid}", daemon=True)

    def __enter__(self) -> Self:
        self._look()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(10)

    @property
    def free(self) -> int:
        """Bytes free now."""
        return self._look().free

    def free_at(self, moment: float) -> int:
        """Bytes free at the last sample before a moment."""
        samples = tuple(self._samples)
        return samples[max(0, bisect_left(samples, (moment,)) - 1)].free

    def lowest(self, since: float, until: float) -> int:
        """The least that was ever free between two moments."""
        return min(sample.free for sample in tuple(self._samples) if since <= sample.at <= until)

    def first(self, level: int, since: float) -> float | None:
        """When at least `level` bytes were free for the first time since a moment."""
        return next((one.at for one in tuple(self._samples) if one.at >= since and one.free >= level), None)

    def _watch(self) -> None:
        while not self._ended.wait(_INTERVAL):
            self._look()

    def _look(self) -> Sample:
        free = int(pynvml.nvmlDeviceGetMemoryInfo(self._handle, version=pynvml.nvmlMemory_v2).free)
        sample = Sample(time.time(), free)
        self._samples.append(sample)
        return sample
