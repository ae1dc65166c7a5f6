"""What a target holds, where that can be told."""

from __future__ import annotations

from collections.abc import Mapping

from gpumod.core.errors import GpumodError
from gpumod.core.job_ports import Bench


async def held(bench: Bench) -> Mapping[str, int] | None:
    """Bytes by card; None where they cannot be read just now."""
    try:
        return await bench.memory()
    except GpumodError:
        return None
