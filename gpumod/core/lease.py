"""Leases: somebody's claim that services stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gpumod.core.names import LeaseId, ServiceId

_OF_A_JOB: Final = "job "


def holder_of_job(job: str) -> str:
    """The holder that a job's leases name, from the job's id."""
    return f"{_OF_A_JOB}{job}"


@dataclass(frozen=True, slots=True)
class Lease:
    """A claim on services until a time; it expires by itself."""

    id: LeaseId
    holder: str
    services: tuple[ServiceId, ...]
    until: float
    created: float
    purpose: str = ""

    @property
    def job(self) -> str:
        """The id of the job that holds it; empty where somebody else does."""
        return self.holder.removeprefix(_OF_A_JOB) if self.holder.startswith(_OF_A_JOB) else ""

    def active(self, now: float) -> bool:
        """Whether the lease still holds at `now`."""
        return now < self.until
