"""The numbers that the queue goes by."""

from __future__ import annotations

from dataclasses import dataclass

from gpumod.config.gateway import GatewaySettings


@dataclass(frozen=True, slots=True)
class Rules:
    """Bounds and times of the queue, in seconds.

    Args:
        queue: requests that may wait at once.
        queue_per_key: of these, of one key.
        wait: how long a request waits at most.
        residency: how long a mode stays at least before requests, or idleness, take something away from it.
        ageing: a request that has waited so long comes before all that are younger, those of the present
            mode included.
    """

    queue: int = 256
    queue_per_key: int = 64
    wait: float = 600.0
    residency: float = 60.0
    ageing: float = 120.0


def rules_of(settings: GatewaySettings) -> Rules:
    """The queue's rules as configured."""
    return Rules(
        queue=settings.queue,
        queue_per_key=settings.queue_per_key,
        wait=settings.wait,
        residency=settings.residency,
        ageing=settings.ageing,
    )
