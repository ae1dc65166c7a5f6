"""The suite `soak`: sessions of several turns, one after the other, to see what creeps."""

from __future__ import annotations

from gpumod.core.job_ports import Suite


def suite() -> Suite:
    """The suite."""
    from gpumod.bench.suites.soak.sessions import Soak

    return Soak()
