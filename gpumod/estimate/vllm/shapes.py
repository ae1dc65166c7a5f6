"""The tensors that a model has, from its configuration alone: for `--load-format dummy`, or no files yet.

The names are those that checkpoints use, so that the same rules divide them over ranks. Shapes follow the
model classes of vLLM 0.20.2; an unknown family is counted as a Llama with what its configuration names.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gpumod.estimate.vllm.checkpoint import DRAFTER, TensorGroup
from gpumod.estimate.vllm.model import Attention, Experts, Latent, Model, Quantization, State, Vision

_LAYER: Final = "model.layers.#."


def dummy_tensors(model: Model) -> tuple[TensorGroup, ...]:
    """All tensors of a model, unquantised ones in 16 bits.

    Args:
        model: from a configuration.
    """
    return tuple(_all(model))


def _all(model: Model) -> Iterator[TensorGroup]:
    yield _plain("model.embed_tokens.weight", 1, model.vocabulary, model.hidden)
    if not model.tied:
        yield _plain("lm_head.weight", 1, model.vocabulary, model.hidden)
    if model.per_layer_inputs:
        width = model.per_layer_inputs
        yield _plain("model.embed_tokens_per_layer.weight", 1, model.vocabulary, width * model.layers)
        yield _plain("model.per_layer_model_projection.weight", 1, width * model.layers, model.hidden)
        yield _plain(f"{_LAYER}per_layer_input_gate.weight", model.layers, width, model.hidden)
        yield _plain(f"{_LAYER}per_layer_projection.weight", model.layers, model.hidden, width)
    yield _plain("model.norm.weight", 1, model.hidden)
    yield _plain(f"{_LAYER}input_layernorm.weight", model.layers * model.norms, model.hidden)
    yield from _mixers(model)
    yield from _feed_forward(model, model.layers, _LAYER)
    yield from _own_drafter(model)
    if model.vision is not None:
        yield from _tower(model.vision, model.hidden)


def _plain(name: str, count: int, *shape: int) -> TensorGroup:
    return TensorGroup(name, "BF16", shape, count)


def _linear(model: Model, name: str, count: int, rows: int, columns: int) -> Iterator[TensorGroup]:
    """A linear layer's weight in every layer that has it, and what quantisation stores beside it."""
    quantization = model.quantization
    if quantization is None or not quantization.bits or not count:
        yield _plain(name, count, rows, columns)
        return
    plain = _unquantised(name, quantization, count)
    if plain:
        yield _plain(name, plain, rows, columns)
    if plain < count:
        yield from _quantised(name.removesuffix("weight"), quantization, count - plain, rows, columns)


def _quantised(
    stem: str, quantization: Quantization, count: int, rows: int, columns: int
) -> Iterator[TensorGroup]:
    bits = quantization.bits
    yield TensorGroup(f"{stem}weight_packed", "U8", (rows, -(-columns * bits // 8)), count)
    if bits >= 8:
        down, across = quantization.block
        shape = (-(-rows // down), -(-columns // across)) if down and across else (rows,)
        yield TensorGroup(f"{stem}weight_scale", "F32", shape, count)
        return
    group = quantization.group or columns
    scale = "U8" if quantization.method == "mxfp4" else "F8_E4M3" if "fp4" in quantization.method else "F16"
    yield TensorGroup(f"{stem}weight_scale", scale, (rows, -(-columns // group)), count)
    if quantization.zeros:
        yield TensorGroup(f"{stem}qzeros", "U8", (rows, -(-columns * bits // (group * 8))), count)


def _unquantised(name: str, quantization: Quantization, count: int) -> int:
    """In how many of its layers a module is left as it is, by the names that the configuration lists."""
    short = name.removeprefix(_LAYER).removesuffix(".weight")
    if quantization.method == "mxfp4":
        return 0 if "experts" in short else count
    layers = set()
    for entry in quantization.skipped:
        _, found, rest = entry.partition("layers.")
        layer, _, module = rest.partition(".")
        if not found:
            if entry in short or short.rpartition(".")[2] in entry:
                return count
        elif module and (short == module or short.startswith(f"{module}.")):
            layers.add(layer)
    return count if "*" in layers else min(len(layers), count)


def _mixers(model: Model) -> Iterator[TensorGroup]:
    """Attention and recurrent layers. Layers that share a cache still have weights of their own."""
    full = model.layers - len(model.states)
    if model.latent is not None:
        yield from _latent(model, model.latent, full)
    else:
        kinds: dict[Attention, int] = {}
        for one in model.attention:
            kinds[one] = kinds.get(one, 0) + 1
        shared = full - sum(kinds.values())
        for index, (one, count) in enumerate(kinds.items()):
            yield from _attention(model, one, count + (max(shared, 0) if index == 0 else 0), _LAYER)
    if model.states:
        yield from _recurrent(model, model.states[0], len(model.states))


def _attention(model: Model, one: Attention, count: int, prefix: str) -> Iterator[TensorGroup]:
    stem = f"{prefix}self_attn."
    query = model.heads * one.key * (2 if model.gated_query else 1)
    yield from _linear(model, f"{stem}q_proj.weight", count, query, model.hidden)
    yield from _linear(model, f"{stem}k_proj.weight", count, one.heads * one.key, model.hidden)
    yield from _linear(model, f"{stem}v_proj.weight", count, one.heads * one.value, model.hidden)
    yield from _linear(model, f"{stem}o_proj.weight", count, model.hidden, model.heads * one.value)
    if model.biased:
        yield _plain(f"{stem}q_proj.bias", count, query)
        yield _plain(f"{stem}k_proj.bias", count, one.heads * one.key)
        yield _plain(f"{stem}v_proj.bias", count, one.heads * one.value)
    if model.head_norms or model.gated_query:
        yield _plain(f"{stem}q_norm.weight", 2 * count, one.key)


def _latent(model: Model, latent: Latent, count: int) -> Iterator[TensorGroup]:
    stem = f"{_LAYER}self_attn."
    query = model.heads * (latent.plain + latent.rotary)
    if latent.query_rank:
        yield from _linear(model, f"{stem}q_a_proj.weight", count, latent.query_rank, model.hidden)
        yield from _linear(model, f"{stem}q_b_proj.weight", count, query, latent.query_rank)
    else:
        yield from _linear(model, f"{stem}q_proj.weight", count, query, model.hidden)
    yield from _linear(
        model, f"{stem}kv_a_proj_with_mqa.weight", count, latent.rank + latent.rotary, model.hidden
    )
    wide = model.heads * (latent.plain + latent.value)
    yield from _linear(model, f"{stem}kv_b_proj.weight", count, wide, latent.rank)
    yield from _linear(model, f"{stem}o_proj.weight", count, model.hidden, model.heads * latent.value)


def _recurrent(model: Model, state: State, count: int) -> Iterator[TensorGroup]:
    """Projections of a recurrent layer: what is convolved, a gate, the step sizes, the output."""
    stem = f"{_LAYER}linear_attn."
    convolved = state.convolved + state.groups * state.group_width
    inner = _inner_width(model, state)
    heads = inner // 128 or 1
    yield from _linear(model, f"{stem}in_proj_qkv.weight", count, convolved, model.hidden)
    yield from _linear(model, f"{stem}in_proj_z.weight", count, inner, model.hidden)
    yield _plain(f"{stem}in_proj_ba.weight", count, 2 * heads, model.hidden)
    yield _plain(f"{stem}conv1d.weight", count, convolved, 1, state.kernel)
    yield from _linear(model, f"{stem}out_proj.weight", count, model.hidden, inner)


def _inner_width(model: Model, state: State) -> int:
    """The width of values: all that is convolved in a Mamba, less queries and keys in a gated delta net."""
    if state.groups or not state.temporal:
        return state.convolved
    del model
    # convolved = 2 keys + values and temporal = values x key size, with heads of 128 in all known models.
    return min(state.convolved, max(state.temporal // 128, 1))


def _feed_forward(model: Model, layers: int, prefix: str) -> Iterator[TensorGroup]:
    experts = model.experts
    sparse = 0 if experts is None else max(layers - experts.dense_layers, 0) // experts.every
    if experts is not None:
        yield from _experts(model, experts, sparse, prefix)
    dense, width = layers - sparse, model.feed_forward
    if model.kind.startswith("gemma4") and experts is not None:
        # A dense network beside the experts, in every layer.
        dense = layers
    if dense and width:
        stem = f"{prefix}mlp."
        yield from _linear(model, f"{stem}gate_proj.weight", dense, width, model.hidden)
        yield from _linear(model, f"{stem}up_proj.weight", dense, width, model.hidden)
        yield from _linear(model, f"{stem}down_proj.weight", dense, model.hidden, width)


def _experts(model: Model, experts: Experts, count: int, prefix: str) -> Iterator[TensorGroup]:
    stem = f"{prefix}mlp."
    many = count * experts.count
    yield from _linear(model, f"{stem}experts.#.gate_proj.weight", many, experts.width, model.hidden)
    yield from _linear(model, f"{stem}experts.#.up_proj.weight", many, experts.width, model.hidden)
    yield from _linear(model, f"{stem}experts.#.down_proj.weight", many, model.hidden, experts.width)
    yield _plain(f"{stem}gate.weight", count, experts.count, model.hidden)
    if model.biased and model.kind == "gpt_oss":
        yield _plain(f"{stem}experts.#.gate_up_proj_bias", many, 2 * experts.width + model.hidden)
    if experts.shared_width:
        shared = f"{stem}shared_expert."
        yield from _linear(model, f"{shared}gate_proj.weight", count, experts.shared_width, model.hidden)
        yield from _linear(model, f"{shared}up_proj.weight", count, experts.shared_width, model.hidden)
        yield from _linear(model, f"{shared}down_proj.weight", count, model.hidden, experts.shared_width)


def _own_drafter(model: Model) -> Iterator[TensorGroup]:
    """A draft module: layers like the model's own, and a projection of two inputs to one."""
    count = model.drafter_layers
    if not count or not model.attention:
        return
    prefix = f"{DRAFTER}layers.#."
    full = [one for one in model.attention if one.window is None and not one.raw] or list(model.attention)
    yield _plain(f"{DRAFTER}fc.weight", 1, model.hidden, 2 * model.hidden)
    yield _plain(f"{prefix}input_layernorm.weight", count * (model.norms + 2) + 1, model.hidden)
    if model.latent is None:
        yield from _attention(model, full[-1], count, prefix)
    else:
        yield from _latent(model, model.latent, count)
    yield from _feed_forward(model, count, prefix)


def _tower(vision: Vision, output: int) -> Iterator[TensorGroup]:
    """A vision transformer and the projector behind it."""
    stem, width, inner = "visual.blocks.#.", vision.hidden, vision.feed_forward
    yield _plain("visual.patch_embed.proj.weight", 1, width, vision.patch_values)
    yield _plain("visual.pos_embed.weight", 1, vision.positions, width)
    yield _plain(f"{stem}norm.weight", 4 * vision.layers, width)
    yield _plain(f"{stem}attn.qkv.weight", vision.layers, 3 * width, width)
    yield _plain(f"{stem}attn.proj.weight", vision.layers, width, width)
    yield _plain(f"{stem}mlp.linear_fc#.weight", vision.layers * (3 if vision.gated else 2), inner, width)
    merged = width * vision.merge**2
    yield _plain("visual.merger.linear_fc#.weight", 1, merged, merged)
    yield _plain("visual.merger.linear_fc#.weight", 1, output, merged)
