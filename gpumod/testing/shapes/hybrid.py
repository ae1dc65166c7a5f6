"""Recurrent and hybrid models: mamba2, qwen3next and qwen35 with gated delta networks."""

from __future__ import annotations

from gpumod.testing.shapes.builder import Model
from gpumod.testing.shapes.dense import add_feed_forward, add_qk_norm, set_attention
from gpumod.testing.shapes.experts import add_experts, add_shared_expert


def mamba2(
    *,
    embedding: int = 2560,
    layers: int = 64,
    state: int = 128,
    head_dim: int = 64,
    convolution: int = 4,
    groups: int = 1,
    vocabulary: int = 50288,
    context: int = 1048576,
) -> Model:
    """Purely recurrent: no KV cache at all."""
    inner = 2 * embedding
    heads, convolved = inner // head_dim, inner + 2 * groups * state
    model = Model("mamba2")
    model.set(context_length=context, embedding_length=embedding, block_count=layers, feed_forward_length=0)
    model.set(attention__head_count=0, attention__layer_norm_rms_epsilon=1e-5, vocab_size=vocabulary)
    model.set(ssm__conv_kernel=convolution, ssm__inner_size=inner, ssm__state_size=state)
    model.set(ssm__time_step_rank=heads, ssm__group_count=groups)
    model.add_vocabulary(vocabulary)
    model.add("token_embd", embedding, vocabulary, type=model.better)
    model.add("output_norm", embedding)
    for layer in range(layers):
        block = f"blk.{layer}."
        model.add(f"{block}attn_norm", embedding)
        model.add(f"{block}ssm_in", embedding, inner + convolved + heads)
        model.add(f"{block}ssm_conv1d", convolution, convolved, type="f32")
        model.add(f"{block}ssm_conv1d.bias", convolved)
        model.add(f"{block}ssm_dt.bias", heads)
        model.add(f"{block}ssm_a!", 1, heads, type="f32")
        model.add(f"{block}ssm_d!", 1, heads, type="f32")
        model.add(f"{block}ssm_norm", inner // groups, groups, type="f32")
        model.add(f"{block}ssm_out", inner, embedding)
    return model


def qwen3next(
    *,
    embedding: int = 2048,
    layers: int = 48,
    heads: int = 16,
    kv_heads: int = 2,
    head_dim: int = 256,
    expert_width: int = 512,
    shared_width: int = 512,
    experts: int = 512,
    used: int = 10,
    key_heads: int = 16,
    value_heads: int = 32,
    state: int = 128,
    convolution: int = 4,
    rope: int = 64,
    vocabulary: int = 151936,
    context: int = 262144,
) -> Model:
    """Three layers with a gated delta network to one with gated attention; experts in every layer."""
    model = Model("qwen3next")
    set_attention(model, embedding, layers, heads, kv_heads, head_dim, context, epsilon=1e-6)
    model.set(feed_forward_length=10 * expert_width, rope__dimension_count=rope, rope__freq_base=1e7)
    model.set(expert_count=experts, expert_used_count=used, expert_feed_forward_length=expert_width)
    model.set(expert_shared_feed_forward_length=shared_width, vocab_size=vocabulary)
    _set_delta(model, key_heads, value_heads, state, convolution)
    _add_ends(model, embedding, vocabulary)
    for layer in range(layers):
        block = f"blk.{layer}."
        model.add(f"{block}attn_norm", embedding)
        model.add(f"{block}post_attention_norm", embedding)
        if (layer + 1) % 4 == 0:
            _add_gated_attention(model, block, embedding, heads, kv_heads, head_dim)
        else:
            _add_delta(model, block, embedding, key_heads, value_heads, state, convolution)
            model.add(f"{block}ssm_ba", embedding, 2 * value_heads)
        add_experts(model, block, embedding, expert_width, experts, model.in_mix(layer, layers))
        model.add(f"{block}ffn_gate_inp_shexp", embedding)
        add_shared_expert(model, block, embedding, shared_width)
    return model


def qwen35(
    *,
    embedding: int = 5120,
    layers: int = 64,
    heads: int = 24,
    kv_heads: int = 4,
    head_dim: int = 256,
    feed_forward: int = 17408,
    key_heads: int = 16,
    value_heads: int = 48,
    state: int = 128,
    convolution: int = 4,
    rope: int = 64,
    mtp: int = 1,
    vocabulary: int = 248320,
    context: int = 262144,
) -> Model:
    """As qwen3next, but dense, with `mtp` layers behind the others that predict the token after the next."""
    model = Model("qwen35")
    set_attention(model, embedding, layers + mtp, heads, kv_heads, head_dim, context, epsilon=1e-6)
    model.set(feed_forward_length=feed_forward, rope__dimension_count=rope, rope__freq_base=1e7)
    model.set(rope__dimension_sections=_sections(rope), vocab_size=vocabulary, nextn_predict_layers=mtp)
    _set_delta(model, key_heads, value_heads, state, convolution)
    _add_ends(model, embedding, vocabulary)
    for layer in range(layers + mtp):
        block, predicts = f"blk.{layer}.", layer >= layers
        model.add(f"{block}attn_norm", embedding)
        model.add(f"{block}post_attention_norm", embedding)
        if predicts or (layer + 1) % 4 == 0:
            _add_gated_attention(model, block, embedding, heads, kv_heads, head_dim)
        else:
            _add_delta(model, block, embedding, key_heads, value_heads, state, convolution)
            model.add(f"{block}ssm_beta", embedding, value_heads)
            model.add(f"{block}ssm_alpha", embedding, value_heads)
        add_feed_forward(model, block, embedding, feed_forward, model.in_mix(layer, layers))
        if predicts:
            model.add(f"{block}nextn.eh_proj", 2 * embedding, embedding, type="q8_0")
            for norm in ("enorm", "hnorm", "shared_head_norm"):
                model.add(f"{block}nextn.{norm}", embedding)
    return model


def qwen35moe(
    *,
    embedding: int = 2048,
    layers: int = 40,
    heads: int = 16,
    kv_heads: int = 2,
    head_dim: int = 256,
    expert_width: int = 512,
    shared_width: int = 512,
    experts: int = 256,
    used: int = 8,
    key_heads: int = 16,
    value_heads: int = 32,
    state: int = 128,
    convolution: int = 4,
    rope: int = 64,
    vocabulary: int = 248320,
    context: int = 262144,
) -> Model:
    """The layers of qwen35 with the experts of qwen3next."""
    model = Model("qwen35moe")
    set_attention(model, embedding, layers, heads, kv_heads, head_dim, context, epsilon=1e-6)
    model.set(rope__dimension_count=rope, rope__freq_base=1e7, rope__dimension_sections=_sections(rope))
    model.set(expert_count=experts, expert_used_count=used, expert_feed_forward_length=expert_width)
    model.set(expert_shared_feed_forward_length=shared_width, vocab_size=vocabulary)
    _set_delta(model, key_heads, value_heads, state, convolution)
    _add_ends(model, embedding, vocabulary)
    for layer in range(layers):
        block = f"blk.{layer}."
        model.add(f"{block}attn_norm", embedding)
        model.add(f"{block}post_attention_norm", embedding)
        if (layer + 1) % 4 == 0:
            _add_gated_attention(model, block, embedding, heads, kv_heads, head_dim)
        else:
            _add_delta(model, block, embedding, key_heads, value_heads, state, convolution)
            model.add(f"{block}ssm_beta", embedding, value_heads)
            model.add(f"{block}ssm_alpha", embedding, value_heads)
        add_experts(model, block, embedding, expert_width, experts, model.in_mix(layer, layers))
        model.add(f"{block}ffn_gate_inp_shexp", embedding)
        add_shared_expert(model, block, embedding, shared_width)
    return model


def _sections(rope: int) -> list[int]:
    """How many pairs of a head turn by each of the three positions."""
    third = rope * 11 // 64
    return [third, third, rope // 2 - 2 * third, 0]


def _add_ends(model: Model, embedding: int, vocabulary: int) -> None:
    model.add_vocabulary(vocabulary)
    model.add("token_embd", embedding, vocabulary)
    model.add("output_norm", embedding)
    model.add("output", embedding, vocabulary, type=model.better)


def _set_delta(model: Model, key_heads: int, value_heads: int, state: int, convolution: int) -> None:
    model.set(ssm__conv_kernel=convolution, ssm__state_size=state, ssm__group_count=key_heads)
    model.set(ssm__time_step_rank=value_heads, ssm__inner_size=state * value_heads, full_attention_interval=4)


def _add_gated_attention(
    model: Model, block: str, embedding: int, heads: int, kv_heads: int, head_dim: int
) -> None:
    """Attention whose query matrix also gives the gate."""
    query, kv = heads * head_dim, kv_heads * head_dim
    model.add(f"{block}attn_q", embedding, 2 * query)
    model.add(f"{block}attn_k", embedding, kv)
    model.add(f"{block}attn_v", embedding, kv)
    model.add(f"{block}attn_output", query, embedding)
    add_qk_norm(model, block, head_dim)


def _add_delta(
    model: Model, block: str, embedding: int, key_heads: int, value_heads: int, state: int, convolution: int
) -> None:
    """A gated delta network."""
    values = state * value_heads
    mixed = 2 * state * key_heads + values
    model.add(f"{block}attn_qkv", embedding, mixed)
    model.add(f"{block}attn_gate", embedding, values)
    model.add(f"{block}ssm_conv1d", convolution, mixed, type="f32")
    model.add(f"{block}ssm_dt.bias", value_heads)
    model.add(f"{block}ssm_a!", value_heads)
    model.add(f"{block}ssm_norm", state)
    model.add(f"{block}ssm_out", values, embedding)
