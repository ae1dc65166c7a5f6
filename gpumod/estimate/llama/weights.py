"""Where a model's weights are.

llama.cpp's `llama_model_base::load_tensors` and `llama_model_loader::create_tensor`: tensors go with their
layer, what is looked up by token stays on the host, a tied output matrix is a second copy where the output
is.
"""

from __future__ import annotations

from collections.abc import Iterator

from gpumod.estimate.llama import architectures as known
from gpumod.estimate.llama.model import LlamaModel
from gpumod.estimate.llama.placement import HOST, Devices, Placement
from gpumod.estimate.llama.setting import LlamaSetting
from gpumod.estimate.llama.tensors import INPUT, LlamaTensor, Role


def weights(model: LlamaModel, setting: LlamaSetting, placement: Placement) -> Devices:
    """Bytes of the weights' buffers on each device."""
    cards, host = [0] * setting.cards, 0
    moved = dict(placement.moved)
    for tensor, unit in loaded(model, setting):
        for device in _devices(model, setting, placement, tensor, unit, moved):
            if device == HOST:
                host += tensor.host
            else:
                cards[device] += tensor.host if setting.on_host else tensor.card
    return Devices(tuple(cards), host)


def weight_units(model: LlamaModel, setting: LlamaSetting, placement: Placement) -> tuple[int, ...]:
    """Bytes on a card of each layer's weights, and as the last one of the output's.

    What stays on the host, and what every card has, is not in it.
    """
    units = [0] * (len(model.layers) + 1)
    moved = dict(placement.moved)
    for tensor, unit in loaded(model, setting):
        if unit != INPUT and tensor.role is Role.PLAIN and tensor.name not in moved:
            units[unit] += tensor.host if setting.on_host else tensor.card
    return tuple(units)


def loaded(model: LlamaModel, setting: LlamaSetting) -> Iterator[tuple[LlamaTensor, int]]:
    """The tensors that a launch loads, each with the unit it is loaded for."""
    trunk = len(model.trunk)
    drafts = setting.draft is not None and setting.draft.type == "draft-mtp" and model.nextn_loadable
    heads = model.architecture in known.NEXTN_HEADS_LOADED
    output = len(model.layers)
    for tensor in model.tensors:
        if trunk <= tensor.unit < output and not drafts and not (heads and _own_head(tensor.name)):
            continue
        yield tensor, tensor.unit
        if model.tied and tensor.name == "token_embd.weight" and _copied(model, setting, tensor):
            yield tensor, output


def _own_head(name: str) -> bool:
    return ".nextn.embed_tokens" in name or ".nextn.shared_head" in name


def _copied(model: LlamaModel, setting: LlamaSetting, embedding: LlamaTensor) -> bool:
    """Whether a tied output is a second copy: not where both uses are in the same buffer.

    The CPU back end multiplies some types in a layout in which no row can be looked up.
    """
    if setting.gpu_layers > 0 or model.architecture in known.OUTPUT_TWICE:
        return True
    return setting.on_host and setting.repack and embedding.repacked


def _devices(
    model: LlamaModel,
    setting: LlamaSetting,
    placement: Placement,
    tensor: LlamaTensor,
    unit: int,
    moved: dict[str, int],
) -> tuple[int, ...]:
    here = 0 if setting.on_host else HOST
    if tensor.role is Role.LAZY:
        return () if setting.on_host else (HOST,)  # pages of the file, which the kernel takes back
    if tensor.name in moved:
        return (moved[tensor.name],)
    if tensor.role is Role.REPEATED:
        users = (
            device
            for layer, device in zip(model.trunk, placement.layers, strict=False)
            if model.architecture != "gemma4" or not layer.sliding
        )
        return tuple(dict.fromkeys(users))
    if unit == INPUT:
        return (here,)
    return (placement.output if unit == len(model.layers) else placement.layers[unit],)
