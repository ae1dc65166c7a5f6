"""Leases: somebody's claim that services stay."""

from __future__ import annotations

from dataclasses import dataclass

from gpumod.core.names import LeaseId, ServiceId


@dataclass(frozen=True, slots=True)
class Lease:
    """A claim on services until a time; it expires by itself."""

    id: LeaseId
    holder: str
    services: tuple[ServiceId, ...]
    until: float
    created: float
    purpose: str = ""

    def active(self, now: float) -> bool:
        """Whether the lease still holds at `now`."""
        return now < self.until
