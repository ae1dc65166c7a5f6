"""The suite `switch`: how long the box takes to go from a target to another mode, and back, step by step."""

from __future__ import annotations

from gpumod.core.job_ports import Suite


def suite() -> Suite:
    """The suite."""
    from gpumod.bench.suites.switch.measuring import Switch

    return Switch()
