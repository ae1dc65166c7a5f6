"""Ports: what rooms ask of each other, as Protocols.

Each adapter's port has one contract suite in `tests/contract` that the fake and the real adapter
both pass. Waiting in an adapter is always bounded by the caller or by `core.bounds`.
"""

from gpumod.core.ports.box import Admission, Events, Leases, Switching
from gpumod.core.ports.engines import (
    Check,
    Engine,
    EngineBuild,
    Footprints,
    Oracle,
    ProbeAnswer,
    Readiness,
    Rung,
)
from gpumod.core.ports.hardware import Clock, Hardware, HostProbe
from gpumod.core.ports.runners import Liveness, RunFound, Runner, RunRequest
from gpumod.core.ports.storage import Store

__all__ = [
    "Admission",
    "Check",
    "Clock",
    "Engine",
    "EngineBuild",
    "Events",
    "Footprints",
    "Hardware",
    "HostProbe",
    "Leases",
    "Liveness",
    "Oracle",
    "ProbeAnswer",
    "Readiness",
    "RunFound",
    "RunRequest",
    "Rung",
    "Runner",
    "Store",
    "Switching",
]
