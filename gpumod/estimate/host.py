"""What services need of the host's memory: rough, stated numbers until they are measured."""

from __future__ import annotations

from typing import Final

from gpumod.core.spec import EngineKind, ServiceSpec
from gpumod.core.units import GIB, MIB

LLAMA_RESIDENT: Final = 512 * MIB
"""llama-server with everything on the card: CUDA's libraries, the tokenizer, pinned buffers."""
LLAMA_LOADING: Final = GIB
"""Staging buffers. The file itself is mapped: page cache, which the kernel takes back."""
VLLM_RESIDENT: Final = 2 * GIB
"""Each of vLLM's processes: the API server, and a worker per card."""
VLLM_LOADING: Final = GIB
"""Per worker; safetensors are mapped as well."""
OTHER_RESIDENT: Final = GIB


def host_needs(spec: ServiceSpec, weights: int, count: int, *, on_host_card: bool) -> tuple[int, int]:
    """Bytes of host memory that a service keeps, and what it needs on top while it loads.

    Args:
        spec: the service.
        weights: the size of its files.
        count: how many cards it runs on.
        on_host_card: the card is the host's memory itself: all but the prompt cache is the card's charge.
    """
    if on_host_card:
        return spec.llama.prompt_cache_size(on_host_card=True), 0
    if spec.engine is EngineKind.LLAMA_CPP:
        resident, loading = LLAMA_RESIDENT + spec.llama.prompt_cache_size(on_host_card=False), LLAMA_LOADING
        if spec.llama.cpu_moe_layers or spec.llama.gpu_layers is not None:
            # How much of the file stays on the host is not known without reading it.
            resident += weights
    elif spec.engine is EngineKind.VLLM:
        resident, loading = VLLM_RESIDENT * (count + 1), VLLM_LOADING * count
    else:
        resident, loading = OTHER_RESIDENT, OTHER_RESIDENT
    return (resident if spec.ram is None else spec.ram), loading
