"""Speculative decoding: a second context beside the model's own.

Multi-token prediction drafts with blocks of the model's own file, whose weights are among the model's; a
draft model has a file of its own. Both have caches of the draft's own types for as much context, and compute
buffers of their own (`common/speculative.cpp` and `tools/server/server-context.cpp` of llama.cpp).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gpumod.core.cards import CardModel
from gpumod.core.footprint import Part
from gpumod.estimate.errors import ModelFileError
from gpumod.estimate.llama.cache import kv_cache, layer_bytes
from gpumod.estimate.llama.compute import compute_buffers, has_pipeline, output_buffer, reserved
from gpumod.estimate.llama.graph.nextn import drafting
from gpumod.estimate.llama.graph.source import Source, largest_batch
from gpumod.estimate.llama.layout import place
from gpumod.estimate.llama.model import LlamaModel
from gpumod.estimate.llama.overhead import Overhead, graphs_and_pools
from gpumod.estimate.llama.placement import HOST, Devices, Placement
from gpumod.estimate.llama.recurrent import recurrent_state
from gpumod.estimate.llama.setting import LlamaSetting
from gpumod.estimate.llama.weights import weights

_READY = 11 << 20
"""What a second context of the same model takes when it is made: measured on an H200."""


def draft_parts(
    model: LlamaModel,
    setting: LlamaSetting,
    placement: Placement,
    card: CardModel,
    overhead: Overhead,
    *,
    draft: LlamaModel | None = None,
) -> tuple[Part, ...]:
    """What drafting takes besides the model; nothing where it does not draft.

    Args:
        model: the model that is drafted for.
        setting: its launch.
        placement: where its layers are.
        card: the cards' model.
        overhead: what CUDA takes.
        draft: the draft's own model, where it has a file.

    Raises:
        ModelFileError: a file lacks what drafting needs.
    """
    if setting.draft is None:
        return ()
    if draft is not None:
        return _own_model(draft, draft_setting(setting, placement.counts), card, overhead)
    if setting.draft.type != "draft-mtp" or not model.nextn:
        return ()
    return _blocks(model, setting, placement, card, overhead)


def draft_setting(setting: LlamaSetting, counts: Sequence[int] = ()) -> LlamaSetting:
    """How the draft's context is launched: as the model's, with caches of its own types.

    Args:
        setting: the model's launch.
        counts: layers per card of the model, where no ratio is written: they are the `--tensor-split` that
            the draft's own layers are divided by as well (`common_base_params_to_speculative` copies it).
    """
    if setting.draft is None:
        return setting
    return replace(
        setting,
        key_type=setting.draft.key_type,
        value_type=setting.draft.value_type,
        outputs=min(setting.slots, setting.batch),
        cpu_moe_layers=setting.draft.cpu_moe_layers,
        overrides=setting.draft.overrides,
        ratio=setting.ratio or tuple(map(float, counts)),
        draft=None,
        prompt_cache=0,
    )


def _own_model(draft: LlamaModel, own: LlamaSetting, card: CardModel, overhead: Overhead) -> tuple[Part, ...]:
    where = place(draft, own)
    cache = kv_cache(draft, own, where) + recurrent_state(draft, own, where)
    buffers = compute_buffers(draft, own, where)
    grows = graphs_and_pools(draft, own, where, card, overhead)
    return (
        _part("draft model", weights(draft, own, where)),
        _part("draft KV cache", cache),
        _part("draft compute buffer", buffers + output_buffer(draft, own)),
        _part("CUDA graphs and pools", grows, "the draft's"),
    )


def _blocks(
    model: LlamaModel, setting: LlamaSetting, placement: Placement, card: CardModel, overhead: Overhead
) -> tuple[Part, ...]:
    own = draft_setting(setting)
    layers = range(len(model.trunk), len(model.layers))
    cards, host = [0] * own.cards, 0
    for index in layers:
        device = placement.layers[index] if own.kv_offload or own.on_host else HOST
        size = layer_bytes(model, own, model.layers[index], on_card=device != HOST and not own.on_host)
        if device == HOST:
            host += size
        else:
            cards[device] += size
    source = Source(model, own, placement, largest_batch(model, own))
    try:
        drafting(source)
    except KeyError as error:
        path = model.header.path
        words = (
            f"{path} has no tensor {error.args[0]} to predict tokens with, as far as gpumod knows its kind"
        )
        raise ModelFileError(words, broken=False) from error
    grows = graphs_and_pools(model, own, placement, card, overhead)
    first = tuple(size + _READY if size else 0 for size in grows.cards)
    return (
        _part("draft KV cache", Devices(tuple(cards), host)),
        _part(
            "draft compute buffer",
            reserved(source, pipeline=has_pipeline(model, own, placement)) + output_buffer(model, own),
        ),
        _part("CUDA graphs and pools", Devices(first), "the draft's"),
    )


def _part(name: str, devices: Devices, note: str = "") -> Part:
    return Part(name, devices.cards, host=devices.host, note=note)
