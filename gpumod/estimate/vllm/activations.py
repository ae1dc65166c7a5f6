"""What vLLM needs besides weights and cache: the largest forward pass, CUDA graphs, and what no budget holds.

vLLM measures them while it starts (`determine_available_memory`, v1/worker/gpu_worker.py): one forward pass
of as many tokens as a batch may have, then one sampling of as many requests as may run. Here they are counted
from the tensors that exist at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gpumod.core.cards import CardModel
from gpumod.core.units import MIB
from gpumod.estimate.vllm.model import Model, Vision
from gpumod.estimate.vllm.setting import VllmSetting

_SAMPLED: Final = 14
"""Bytes per request and vocabulary entry: logits in 16 and in 32 bits, probabilities, and random numbers
(v1/sample/ops/topk_topp_sampler.py, `random_sample`)."""
_LARGEST_IMAGE: Final = 16384
"""Tokens of the largest image that models with three-part positions (Qwen-VL) accept."""
_USUAL_IMAGE: Final = 1024
_PIECE: Final = MIB // 4
"""Of one layer of one captured size: a piecewise graph per layer. Counted from published logs, such as
0.36 GiB for 16 sizes of a Qwen3.6 27B of 64 layers over two cards."""
_WHOLE: Final = 2 * MIB
"""Of one captured size of a whole model."""


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
        card: larger ones have more multiprocessors, for each of which a context keeps a stack.
    """
    large = card.compute_capability is not None and card.compute_capability[0] >= 9
    return VllmOverhead(context=(560 if large else 400) * MIB, communication=350 * MIB, kernels=160 * MIB)


def activation_peak(model: Model, setting: VllmSetting) -> int:
    """Bytes of the largest moment of the profiling run on one rank.

    Args:
        model: the model.
        setting: the launch.
    """
    hidden = setting.batched_tokens * model.hidden * setting.dtype_bytes
    layer = 2 * hidden + max(_attention(model, setting), _dense(model, setting), _experts(model, setting))
    requests = min(setting.sequences, setting.batched_tokens)
    sampling = 0 if setting.pooling else hidden + requests * model.vocabulary * _SAMPLED
    encoded = encoder_cache(model, setting)
    return max(_encoder(model, setting), encoded + max(layer, sampling))


def encoder_cache(model: Model, setting: VllmSetting) -> int:
    """The embeddings of images that are kept while the language model is profiled."""
    if not setting.vision or model.vision is None:
        return 0
    return _image_tokens(model, setting) * model.hidden * setting.dtype_bytes


def graph_memory(model: Model, setting: VllmSetting) -> int:
    """Bytes of CUDA graphs on one rank: every captured size, layer by layer and as a whole."""
    if setting.eager:
        return 0
    sizes = capture_sizes(setting)
    whole = [size for size in sizes if size <= setting.sequences * (1 + setting.drafted)]
    largest = max(sizes, default=0)
    width = _width(model, setting)
    shared = largest * (4 * model.hidden + width) * setting.dtype_bytes
    return shared + len(sizes) * model.layers * _PIECE + (0 if setting.pooling else len(whole) * _WHOLE)


def capture_sizes(setting: VllmSetting) -> tuple[int, ...]:
    """The batch sizes that are captured (`_set_cudagraph_sizes`, config/vllm.py)."""
    largest = min(setting.capture, setting.batched_tokens)
    small = [size for size in (1, 2, 4) if size <= largest]
    middle = list(range(8, min(largest + 1, 256), 8))
    return tuple(small + middle + list(range(256, largest + 1, 16)))


def _width(model: Model, setting: VllmSetting) -> int:
    """Values per token of the widest part of a feed-forward layer."""
    experts = model.experts
    sparse = 0 if experts is None else experts.used * 2 * max(experts.width // setting.ranks, model.hidden)
    return max(3 * model.feed_forward // setting.ranks, sparse)


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
