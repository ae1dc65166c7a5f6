"""What launches were seen to take."""

from __future__ import annotations

import math
from typing import Final

from gpumod.core.footprint import Measurement
from gpumod.core.units import MIB

_LEAST_MARGIN: Final = 32 * MIB
_MARGIN_SHARE: Final = 0.005
LEARNED_MARGIN: Final = "0.5 % (32 MiB at least)"
"""Launches of one configuration differ by what is loaded lazily: cuBLAS's workspace (32 MiB on Hopper and
newer, 4 MiB before), kernels, and pools that grow by 2 MiB. Growth itself is seen, and learned as the peak.
"""


def with_margin(used: int) -> int:
    """What a service is charged that was seen to take so many bytes of a card."""
    return used + max(_LEAST_MARGIN, math.ceil(used * _MARGIN_SHARE))


class Learned:
    """The measurements of all launches, by fingerprint."""

    def __init__(self) -> None:
        self._peaks: dict[str, tuple[int, ...]] = {}

    def add(self, measurement: Measurement) -> None:
        """Remember what a launch took, if it is more than what others took under its fingerprint."""
        known = self._peaks.get(measurement.fingerprint, measurement.used)
        self._peaks[measurement.fingerprint] = tuple(map(max, known, measurement.used))

    def peak(self, fingerprint: str) -> tuple[int, ...] | None:
        """The most per card that launches under a fingerprint took; None where there was none."""
        return self._peaks.get(fingerprint)
