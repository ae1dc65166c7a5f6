"""What vLLM needs besides weights and cache: the largest forward pass, CUDA graphs, and what no budget holds.

vLLM measures them while it starts (`determine_available_memory`, v1/worker/gpu_worker.py): one forward pass
of as many tokens as a batch may have, then one sampling of as many requests as may run. Here they are counted
from the tensors that exist at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gpumod.core.cards import CardModel
from gpumod.core.units import MIB
from gpumod.estimate.vllm.model import Model, Vision
from gpumod.estimate.vllm.setting import VllmSetting

_SAMPLED: Final = 14
"""Bytes per request and vocabulary entry: logits in 16 and in 32 bits, probabilities, and random numbers
(v1/sample/ops/topk_topp_sampler.py, `random_sample`)."""
_FRAGMENTED: Final = 2
"""As above: the 16-bit logits come to lie in a segment for 32-bit ones, whose other half fits nothing
(measured on an H200 with vLLM 0.20.2 and torch 2.11, within 110 MiB for four models)."""
_LARGEST_IMAGE: Final = 16384
"""Tokens of the largest image that models with three-part positions (Qwen-VL) accept."""
_USUAL_IMAGE: Final = 1024
_HOPPER: Final = 9
_SPLITS: Final = 32
"""Parts of a sequence whose results FlashAttention 3 sets aside when a whole model is captured."""
_CAPTURED: Final = 0.23 * MIB
_PROFILED: Final = 0.145 * MIB
"""Per layer and captured size, piecewise and whole together: what capturing takes, and what vLLM expects of
it from two sizes of each (`profile_cudagraph_memory`). Measured as above: for 51 sizes, 11.4 to 11.9 MiB per
layer of four models."""
_FIRST_CAPTURE: Final = 32 * MIB
_FIRST_PER_LAYER: Final = int(2.2 * MIB)


@dataclass(frozen=True, slots=True)
class VllmOverhead:
    """What a launch takes on each card that no formula gives: assumed, until launches were seen.

    Args:
        context: the CUDA context and cuBLAS, before vLLM counts anything.
        communication: NCCL's buffers per card of several; also before it counts.
        kernels: what is loaded and allocated outside torch after that; comes out of the utilisation.
    """

    context: int
    communication: int
    kernels: int

    def outside(self, ranks: int) -> int:
        """Bytes per card besides what the utilisation holds."""
        return self.context + (self.communication if ranks > 1 else 0)


def usual_overhead(card: CardModel) -> VllmOverhead:
    """What is assumed of a card that no launch has been seen on.

    Args:
        card: the context and the kernels of large ones are larger. An H200 was measured: 527 and 236 MiB.
    """
    large = _is_large(card)
    return VllmOverhead(
        context=(528 if large else 400) * MIB,
        communication=350 * MIB,
        kernels=(240 if large else 180) * MIB,
    )


def activation_peak(model: Model, setting: VllmSetting, card: CardModel) -> int:
    """Bytes of the largest moment of the profiling run on one rank.

    Args:
        model: the model.
        setting: the launch.
        card: its multiprocessors each have a row of the sampler's buffer.

    The workspaces of experts are kept from one moment to the next.
    """
    hidden = setting.batched_tokens * model.hidden * setting.dtype_bytes
    sampling = 0 if setting.pooling else hidden + _sampling(model, setting, card)
    workspace = (32 if _is_large(card) else 8) * MIB
    kept = encoder_cache(model, setting) + _experts(model, setting)
    return workspace + max(_encoder(model, setting), kept + max(_layer(model, setting), sampling))


def gap_memory(model: Model, setting: VllmSetting, card: CardModel) -> int:
    """Bytes between tensors that a launch takes and does not reckon with.

    Arguments as for `activation_peak`.
    """
    if setting.pooling:
        return 0
    gaps = _requests(setting) * model.vocabulary * _FRAGMENTED
    widest = _dense(model, setting) * 2 // 3
    if widest > _requests(setting) * model.vocabulary * 4:
        # What sampling leaves is too small for a layer's widest tensor: both keep their own.
        gaps += min(_layer(model, setting), _sampling(model, setting, card))
    return gaps


def encoder_cache(model: Model, setting: VllmSetting) -> int:
    """The embeddings of images that are kept while the language model is profiled."""
    if not setting.vision or model.vision is None:
        return 0
    return _image_tokens(model, setting) * model.hidden * setting.dtype_bytes


def graph_memory(model: Model, setting: VllmSetting, card: CardModel) -> int:
    """Bytes that vLLM expects CUDA graphs to take on one rank, and leaves out of the KV cache."""
    sizes = sum(map(len, capture_sizes(setting)))
    if setting.eager or not sizes:
        return 0
    return _first_capture(model, setting, card) + int((sizes - 1) * model.layers * _PROFILED)


def captured_memory(model: Model, setting: VllmSetting, card: CardModel) -> int:
    """Bytes that CUDA graphs do take on one rank: more than vLLM expects of them."""
    sizes = sum(map(len, capture_sizes(setting)))
    if setting.eager or not sizes:
        return 0
    return _first_capture(model, setting, card) + int(sizes * model.layers * _CAPTURED)


def _first_capture(model: Model, setting: VllmSetting, card: CardModel) -> int:
    """What the largest size takes, which all others share."""
    largest = max(sizes[-1] for sizes in capture_sizes(setting) if sizes)
    pieces = _FIRST_CAPTURE + model.layers * _FIRST_PER_LAYER
    if model.latent is not None or not model.attention or _major(card) != _HOPPER:
        return pieces
    # In 32 bits, for every head (v1/attention/backends/flash_attn.py, `max_num_splits`).
    size = max(one.key for one in model.attention)
    return max(pieces, _SPLITS * largest * model.heads // setting.ranks * size * 4 + 4 * MIB)


def capture_sizes(setting: VllmSetting) -> tuple[Sequence[int], ...]:
    """The batch sizes that are captured, in three groups (`_set_cudagraph_sizes`, config/vllm.py).

    Ranges and no lists, because users may write any `--max-cudagraph-capture-size`.
    """
    largest = min(setting.capture, setting.batched_tokens)
    small = tuple(size for size in (1, 2, 4) if size <= largest)
    return small, range(8, min(largest + 1, 256), 8), range(256, largest + 1, 16)


def _major(card: CardModel) -> int:
    return card.compute_capability[0] if card.compute_capability is not None else 0


def _is_large(card: CardModel) -> bool:
    """Whether this is a card of data centres since Hopper: cuBLAS takes more there, and so do contexts."""
    return _major(card) in {_HOPPER, _HOPPER + 1}


def _requests(setting: VllmSetting) -> int:
    return min(setting.sequences, setting.batched_tokens)


def _sampling(model: Model, setting: VllmSetting, card: CardModel) -> int:
    """Logits and what is made of them, the hidden states of what is sampled, and a row per running kernel."""
    requests = _requests(setting)
    units = card.multiprocessors or (132 if _is_large(card) else 84)
    rows = min(1 << (min(units, requests) - 1).bit_length(), units)
    return model.vocabulary * (requests * _SAMPLED + rows * 4) + requests * model.hidden * setting.dtype_bytes


def _layer(model: Model, setting: VllmSetting) -> int:
    """The widest moment of a layer: its input, what it is added to, and the larger of its halves."""
    hidden = setting.batched_tokens * model.hidden * setting.dtype_bytes
    return 2 * hidden + max(_attention(model, setting), _dense(model, setting))


def _attention(model: Model, setting: VllmSetting) -> int:
    """Queries, keys, values, a gate, and the output before its projection, or a recurrent layer's likes."""
    tokens, ranks = setting.batched_tokens, setting.ranks
    if model.latent is not None:
        latent = model.latent
        wide = model.heads * (2 * latent.plain + 2 * latent.rotary + 2 * latent.value) // ranks
        return tokens * (wide + latent.rank + latent.rotary) * setting.dtype_bytes
    queries = model.heads * model.head_size * (2 if model.gated_query else 1)
    values = (queries + 2 * model.kv_heads * model.head_size + model.heads * model.head_size) // ranks
    recurrent = max((2 * one.convolved + 2 * _state_width(one.convolved) for one in model.states), default=0)
    return tokens * max(values, recurrent // ranks) * setting.dtype_bytes


def _state_width(convolved: int) -> int:
    """Values of the gate and the output of a recurrent layer, next to what is convolved."""
    return convolved // 2


def _dense(model: Model, setting: VllmSetting) -> int:
    """Gate and input of the feed-forward layer together, and their product."""
    return setting.batched_tokens * 3 * model.feed_forward // setting.ranks * setting.dtype_bytes


def _experts(model: Model, setting: VllmSetting) -> int:
    """The fused experts' two workspaces and output (`workspace_shapes`, fused_moe/fused_moe.py)."""
    experts = model.experts
    if experts is None:
        return 0
    width = max(experts.width // setting.ranks, 1)
    per_token = experts.used * (max(width, model.hidden) + max(2 * width, model.hidden)) + model.hidden
    scores = 4 * experts.count * 2
    return setting.batched_tokens * (per_token * setting.dtype_bytes + scores)


def _image_tokens(model: Model, setting: VllmSetting) -> int:
    return max(_LARGEST_IMAGE if model.sections else _USUAL_IMAGE, setting.batched_tokens)


def _encoder(model: Model, setting: VllmSetting) -> int:
    """The widest layer of the vision tower over the largest image, and the image's patches."""
    vision = model.vision
    if not setting.vision or vision is None:
        return 0
    tokens = _LARGEST_IMAGE if model.sections else _USUAL_IMAGE
    return tokens * vision.merge**2 * _per_patch(vision, setting.ranks) * setting.dtype_bytes


def _per_patch(vision: Vision, ranks: int) -> int:
    attention = 4 * vision.hidden // ranks
    return 3 * vision.hidden + vision.patch_values + max(2 * vision.feed_forward // ranks, attention)
