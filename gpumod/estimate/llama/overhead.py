"""What CUDA takes besides the buffers that llama.cpp lists.

Two parts: the context with the kernels that are loaded into it, which follows from the card's model and is
best learned; and what comes with the first requests: CUDA graphs, cuBLAS, and the pool of scratch memory,
whose sizes follow from the model (`ggml/src/ggml-cuda`: `common.cuh`, `mmq.cu`, `mmq.cuh`,
`fattn-common.cuh`, `ssm-scan.cu`).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Final

from gpumod.core.cards import CardModel
from gpumod.core.units import MIB
from gpumod.estimate.gguf.header import Tensor
from gpumod.estimate.gguf.types import GGML_TYPES
from gpumod.estimate.llama.model import LlamaModel
from gpumod.estimate.llama.placement import HOST, Devices, Placement
from gpumod.estimate.llama.setting import LlamaSetting
from gpumod.estimate.llama.sizes import padded

_STEP: Final = 2 * MIB
"""The driver gives memory in pieces of this size."""
_GRAPHS: Final = 4 * MIB
"""CUDA graphs of one llama.cpp context: 2 to 4 MiB on an H200 after the first short request."""
_SPLIT_GRAPHS: Final = 32 * MIB
"""More of them where work goes back and forth between card and host: 6 to 34 MiB on an H200."""
_CUBLAS: Final = 66 * MIB
"""What `cublasCreate` takes: measured on an H200 with CUDA 13."""
_HOPPER: Final = (9, 0)
_USUAL_MULTIPROCESSORS: Final = 128
_BASE: Final = 115 * MIB
_PER_MULTIPROCESSOR: Final = 2.7 * MIB
_FROM_HOPPER: Final = 116 * MIB
"""A context by multiprocessors: 180 MiB with 24 (RTX 2000 Ada), 264 to 368 with 82 (RTX 3090), 451 to 472
with 128 (RTX 4090; llama.cpp pull requests 15860 and 22673, issues 23281 and 23679), 586 with 132 (H200)."""
_TILE: Final = 128
_EFFICIENT: Final = 0.9
_ROW: Final = 512
_Q8_1: Final = 9 / 8
"""Bytes per value of activations quantised for a product with a quantised matrix."""
_FEW: Final = 8
"""Columns up to which products need neither cuBLAS nor scratch memory worth counting."""
_SCAN_CHUNK: Final = 256
_SCAN_FROM: Final = 129
"""Tokens per sequence from which on mamba2's scan is a row of products."""


@dataclass(frozen=True, slots=True)
class Overhead:
    """What CUDA takes of one process on one card, besides buffers.

    Args:
        context: bytes of the context and the kernels loaded with it.
        cublas: bytes that cuBLAS takes when it is first used, without its workspace.
    """

    context: int
    cublas: int = _CUBLAS


def usual_overhead(card: CardModel) -> Overhead:
    """What cards like this one were seen to take, until a launch on it has shown it."""
    count = card.multiprocessors or _USUAL_MULTIPROCESSORS
    newer = card.compute_capability is not None and card.compute_capability >= _HOPPER
    return Overhead(int(_BASE + count * _PER_MULTIPROCESSOR + (_FROM_HOPPER if newer else 0)))


def context_overhead(setting: LlamaSetting, overhead: Overhead) -> Devices:
    """The CUDA context on each card: llama.cpp opens one on every card that it sees."""
    return Devices((0 if setting.on_host else overhead.context,) * setting.cards)


def graphs_and_pools(
    model: LlamaModel, setting: LlamaSetting, placement: Placement, card: CardModel, overhead: Overhead
) -> Devices:
    """What each card's use grows by with requests, at most."""
    if setting.on_host:
        return Devices((0,) * setting.cards)
    newer = card.compute_capability is None or card.compute_capability >= _HOPPER
    cublas = overhead.cublas + (32 if newer else 4) * MIB
    scratch = _Scratch(model, setting, card.multiprocessors or _USUAL_MULTIPROCESSORS)
    sizes = []
    for device in range(setting.cards):
        needed, uses_cublas = scratch.of(device, placement)
        split = 0 if placement.whole and setting.kv_offload else _SPLIT_GRAPHS
        sizes.append(_GRAPHS + split + padded(needed, _STEP) + (cublas if uses_cublas else 0))
    return Devices(tuple(sizes))


class _Scratch:
    """Scratch memory of one launch's operations."""

    def __init__(self, model: LlamaModel, setting: LlamaSetting, multiprocessors: int) -> None:
        self._model = model
        self._setting = setting
        self._multiprocessors = multiprocessors

    def of(self, device: int, placement: Placement) -> tuple[int, bool]:
        """Bytes of the operation that needs most on a card, and whether any uses cuBLAS."""
        moved = dict(placement.moved)
        most, cublas = 0, False
        for tensor in self._model.header.tensors:
            home = moved.get(tensor.name, _home(tensor, placement))
            # Matrices on the host are multiplied on the first card where a batch is large.
            if device not in {home, 0 if home == HOST and self._setting.operation_offload else home}:
                continue
            if not _is_matrix(tensor):
                continue
            size, through = self._product(tensor)
            most, cublas = max(most, size), cublas or through
        layers = [
            layer for layer, at in zip(self._model.trunk, placement.layers, strict=False) if at == device
        ]
        for size, through in (
            *(
                self._attention(layer.heads, layer.value)
                for layer in layers
                if layer.attends and layer.kv_heads
            ),
            *(self._scan() for layer in layers if layer.recurrent),
        ):
            most, cublas = max(most, size), cublas or through
        return most, cublas

    def _product(self, tensor: Tensor) -> tuple[int, bool]:
        setting, kind = self._setting, GGML_TYPES[tensor.type]
        tokens = setting.outputs if tensor.name.startswith(("output.", "token_embd.")) else setting.ubatch
        tokens = min(tokens, setting.ubatch)
        if tokens <= _FEW:
            return 0, False
        experts = "_exps." in tensor.name
        used = max((layer.experts_used for layer in self._model.layers), default=1) if experts else 1
        columns = tokens * max(used, 1)
        if kind.block == 1:
            # Half precision is multiplied and given in half precision, on both sides of the product.
            return (2 * columns * (tensor.shape[0] + tensor.shape[1]) if kind.size == 2 else 0), True
        count = prod(tensor.shape[2:])
        tiles = -(-tensor.shape[1] // _TILE) * -(-tokens // _TILE) * count
        activations = int(columns * padded(tensor.shape[0], _ROW) * _Q8_1)
        return activations + self._fixup(tiles), False

    def _fixup(self, tiles: int) -> int:
        """What multiprocessors that share a tile of the result keep aside (`launch_mul_mat_q`)."""
        waves = -(-tiles // self._multiprocessors)
        efficient = tiles / (waves * self._multiprocessors) >= _EFFICIENT
        if efficient or tiles % self._multiprocessors == 0:
            return 0
        return self._multiprocessors * _TILE * _TILE * 4

    def _attention(self, heads: int, width: int) -> tuple[int, bool]:
        setting = self._setting
        if not setting.flash_attention:
            # Without it cuBLAS multiplies, and the scores are converted to half precision.
            return 2 * setting.cells * setting.ubatch * heads, True
        if self._model.mla is not None:
            width = self._model.mla.rank
        return 2 * self._multiprocessors * 64 * (2 + width // 2) * 8, False

    def _scan(self) -> tuple[int, bool]:
        shape, setting = self._model.recurrence, self._setting
        sequences = min(setting.slots, setting.ubatch // _SCAN_FROM)
        if shape is None or self._model.architecture in _DELTA_NETS or not shape.rank or not sequences:
            return 0, False
        per_sequence = (
            8 * setting.ubatch // sequences * shape.rank
            + 4 * _SCAN_CHUNK * _SCAN_CHUNK * shape.groups
            + 2 * _SCAN_CHUNK * shape.inner
            + 6 * shape.state * _SCAN_CHUNK * shape.rank
            + 2 * _SCAN_CHUNK * _SCAN_CHUNK * shape.rank
        )
        return per_sequence * sequences, True


_DELTA_NETS: Final = frozenset({"qwen35", "qwen35moe", "qwen3next", "kimi-linear", "lfm2", "lfm2moe"})
"""Recurrent, but with no scan of mamba2's kind."""
_NO_MATRICES: Final = (
    "norm",
    "conv1d",
    "rope_",
    "ssm_a",
    "ssm_d",
    "attn_sinks",
    "position_embd",
    "token_types",
)


def _is_matrix(tensor: Tensor) -> bool:
    return (
        len(tensor.shape) > 1
        and tensor.name.endswith(".weight")
        and not any(word in tensor.name for word in _NO_MATRICES)
    )


def _home(tensor: Tensor, placement: Placement) -> int:
    head, _, rest = tensor.name.partition(".")
    number = rest.partition(".")[0]
    if head == "blk" and number.isascii() and number.isdigit() and int(number) < len(placement.layers):
        return placement.layers[int(number)]
    return placement.output
