"""The suite `stress`: eight boundaries at which boxes are known to break."""

from __future__ import annotations

from gpumod.core.job_ports import Suite


def suite() -> Suite:
    """The suite."""
    from gpumod.bench.suites.stress.boundaries import Stress

    return Stress()
