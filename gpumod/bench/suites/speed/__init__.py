"""The suite `speed`: how fast a model reads and writes, alone, deep in its context, and for many at once."""

from __future__ import annotations

from gpumod.core.job_ports import Suite


def suite() -> Suite:
    """The suite."""
    from gpumod.bench.suites.speed.measuring import Speed

    return Speed()
