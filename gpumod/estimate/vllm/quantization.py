"""How a checkpoint says that its linear layers are quantised."""

from __future__ import annotations

from typing import Final

from gpumod.estimate.vllm.jsonfile import Values
from gpumod.estimate.vllm.model import Quantization

_BITS: Final = {"mxfp4": 4, "modelopt_fp4": 4, "nvfp4": 4, "awq": 4, "gptq": 4, "auto-round": 4,
                "fp8": 8, "fbgemm_fp8": 8}  # fmt: skip
_BLOCKS: Final = {"mxfp4": 32, "modelopt_fp4": 16, "nvfp4": 16}
_SKIP_KEYS: Final = ("modules_to_not_convert", "ignore", "ignored_layers", "exclude_modules")
_FP4_FORMATS: Final = frozenset({"NVFP4", "MXFP4"})


def read_quantization(config: Values, text: Values) -> Quantization | None:
    """The quantisation of a checkpoint; None where it has none.

    The keys are those of transformers' configurations, compressed-tensors and ModelOpt.
    """
    found = config.inner("quantization_config", "compression_config") or text.inner(
        "quantization_config", "compression_config"
    )
    if found is None:
        return None
    method = (found.word("quant_method") or "").lower().replace("compressed_tensors", "compressed-tensors")
    skipped = tuple(str(name)[:200] for key in _SKIP_KEYS for name in found.listed(key, most=2**16))
    if found.has("producer"):
        return _modelopt(found, skipped)
    if method == "compressed-tensors":
        return _compressed(found, skipped)
    block = found.wholes("weight_block_size", most=2**16)
    if method == "gptq" and found.word("checkpoint_format") == "auto_round":
        method = "auto-round"
    return Quantization(
        method=method or "unknown",
        bits=found.whole("bits", "w_bit", most=32) or _BITS.get(method, 0),
        group=_group(found) or _BLOCKS.get(method, 0),
        block=(block[0], block[1]) if len(block) == 2 else (0, 0),
        zeros=method == "awq" or found.data.get("sym") is False,
        skipped=skipped,
    )


def _group(values: Values) -> int:
    """Weights that share a scale; -1 and null mean the whole row."""
    number = values.whole("group_size", "q_group_size", least=-1, most=2**20) or 0
    return max(number, 0)


def _modelopt(found: Values, skipped: tuple[str, ...]) -> Quantization:
    inner = found.inner("quantization") or found
    algorithm = (inner.word("quant_algo") or "").upper()
    if algorithm in _FP4_FORMATS:
        return Quantization("modelopt_fp4", 4, _group(inner) or 16, skipped=skipped)
    return Quantization("modelopt", 8, skipped=skipped)


def _compressed(found: Values, skipped: tuple[str, ...]) -> Quantization:
    """The first group of modules decides; the others are counted alike."""
    groups = found.inner("config_groups")
    for name in groups.data if groups is not None else ():
        group = groups.inner(name) if groups is not None else None
        weights = group.inner("weights") if group is not None else None
        if weights is None:
            continue
        block = (
            weights.wholes("block_structure") if isinstance(weights.data.get("block_structure"), list) else ()
        )
        return Quantization(
            method="compressed-tensors",
            bits=weights.whole("num_bits", most=32) or 0,
            group=_group(weights),
            block=(block[0], block[1]) if len(block) == 2 else (0, 0),
            zeros=weights.data.get("symmetric") is False,
            skipped=skipped,
        )
    return Quantization("compressed-tensors", skipped=skipped)
