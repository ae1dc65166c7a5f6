"""All landmines, and which of them lie in the way of a launch."""

from __future__ import annotations

from typing import Final

from gpumod.core.landmine import Landmine
from gpumod.estimate.landmines.common import COMMON_TRAPS
from gpumod.estimate.landmines.llama import LLAMA_TRAPS
from gpumod.estimate.landmines.trap import Launch, Trap
from gpumod.estimate.landmines.vllm import VLLM_TRAPS
from gpumod.estimate.landmines.vllm_types import VLLM_TYPE_TRAPS

TRAPS: Final[tuple[Trap, ...]] = (*COMMON_TRAPS, *LLAMA_TRAPS, *VLLM_TRAPS, *VLLM_TYPE_TRAPS)
"""In the order of the documentation."""


def find_landmines(launch: Launch) -> tuple[Landmine, ...]:
    """The landmines in the way of a launch, the fatal ones first."""
    found = [landmine for one in TRAPS if (landmine := one.landmine(launch)) is not None]
    return tuple(sorted(found, key=lambda landmine: not landmine.fatal))
