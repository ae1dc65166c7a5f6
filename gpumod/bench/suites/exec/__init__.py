"""The suite `exec`: other projects' harnesses as programs of their own, their numbers kept like ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from gpumod.core.job_ports import Suite


def suite(own: Path | None = None, user: str | None = None) -> Suite:
    """The suite with the shipped recipes and those of a folder of the user's own, if there is one.

    Args:
        own: the folder; it need not be there.
        user: whom harnesses run as; None is the daemon's own user.
    """
    from gpumod.bench.suites.exec.measuring import ExecSuite

    return ExecSuite(own, user)
