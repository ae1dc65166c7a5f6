"""Mixtures of experts: qwen3moe, gpt-oss, and deepseek2 with its latent attention."""

from __future__ import annotations

from gpumod.testing.shapes.builder import Model
from gpumod.testing.shapes.dense import add_attention, add_feed_forward, add_qk_norm, set_attention


def qwen3moe(
    *,
    embedding: int = 2048,
    layers: int = 48,
    heads: int = 32,
    kv_heads: int = 4,
    head_dim: int = 128,
    expert_width: int = 768,
    experts: int = 128,
    used: int = 8,
    vocabulary: int = 151936,
    context: int = 40960,
) -> Model:
    """Every layer routes; no shared expert."""
    model = Model("qwen3moe")
    set_attention(model, embedding, layers, heads, kv_heads, head_dim, context, epsilon=1e-6)
    model.set(feed_forward_length=8 * expert_width, rope__freq_base=1e6, vocab_size=vocabulary)
    model.set(expert_count=experts, expert_used_count=used, expert_feed_forward_length=expert_width)
    model.add_vocabulary(vocabulary)
    model.add("token_embd", embedding, vocabulary)
    model.add("output_norm", embedding)
    model.add("output", embedding, vocabulary, type=model.better)
    for layer in range(layers):
        block = f"blk.{layer}."
        model.add(f"{block}attn_norm", embedding)
        add_attention(model, block, embedding, heads * head_dim, kv_heads * head_dim, model.better)
        add_qk_norm(model, block, head_dim)
        model.add(f"{block}ffn_norm", embedding)
        add_experts(model, block, embedding, expert_width, experts, model.in_mix(layer, layers))
    return model


def gpt_oss(
    *,
    embedding: int = 2880,
    layers: int = 24,
    heads: int = 64,
    kv_heads: int = 8,
    head_dim: int = 64,
    expert_width: int = 2880,
    experts: int = 32,
    used: int = 4,
    vocabulary: int = 201088,
    context: int = 131072,
    window: int = 128,
) -> Model:
    """Attention sinks, biases everywhere, experts in MXFP4, every other layer with a sliding window."""
    model = Model("gpt-oss", "q8_0", "q8_0")
    set_attention(model, embedding, layers, heads, kv_heads, head_dim, context)
    model.set(feed_forward_length=expert_width, rope__dimension_count=head_dim, rope__freq_base=150000.0)
    model.set(attention__sliding_window=window, vocab_size=vocabulary)
    model.set(expert_count=experts, expert_used_count=used, expert_feed_forward_length=expert_width)
    model.add_vocabulary(vocabulary)
    model.add("token_embd", embedding, vocabulary)
    model.add("output_norm", embedding)
    model.add("output", embedding, vocabulary)
    for layer in range(layers):
        block = f"blk.{layer}."
        model.add(f"{block}attn_norm", embedding)
        model.add(f"{block}post_attention_norm", embedding)
        add_attention(model, block, embedding, heads * head_dim, kv_heads * head_dim)
        for part, width in (("q", heads * head_dim), ("k", kv_heads * head_dim), ("v", kv_heads * head_dim)):
            model.add(f"{block}attn_{part}.bias", width)
        model.add(f"{block}attn_output.bias", embedding)
        model.add(f"{block}attn_sinks", heads)
        model.add(f"{block}ffn_gate_inp", embedding, experts, type="f32")
        model.add(f"{block}ffn_gate_inp.bias", experts)
        for part, row, width in (
            ("gate", embedding, expert_width),
            ("up", embedding, expert_width),
            ("down", expert_width, embedding),
        ):
            model.add(f"{block}ffn_{part}_exps", row, width, experts, type="mxfp4")
            model.add(f"{block}ffn_{part}_exps.bias", width, experts, type="f32")
    return model


def deepseek2(
    *,
    embedding: int = 2048,
    layers: int = 27,
    heads: int = 16,
    latent: int = 512,
    query_latent: int = 0,
    rope: int = 64,
    key_length: int = 192,
    value_length: int = 128,
    feed_forward: int = 10944,
    dense_layers: int = 1,
    expert_width: int = 1408,
    experts: int = 64,
    used: int = 6,
    shared: int = 2,
    vocabulary: int = 102400,
    context: int = 163840,
) -> Model:
    """Multi-head latent attention: the cache holds one latent vector and one rotated key for all heads.

    Without a `query_latent` llama.cpp takes 26 and 27 layers only (`is_lite` in deepseek2.cpp).
    """
    model = Model("deepseek2", better="q6_k")
    set_attention(model, embedding, layers, heads, 1, latent + rope, context, epsilon=1e-6)
    model.set(attention__value_length=latent, attention__kv_lora_rank=latent)
    model.set(attention__key_length_mla=key_length, attention__value_length_mla=value_length)
    if query_latent:
        model.set(attention__q_lora_rank=query_latent)
    model.set(feed_forward_length=feed_forward, rope__dimension_count=rope, rope__freq_base=10000.0)
    model.set(vocab_size=vocabulary, leading_dense_block_count=dense_layers)
    model.set(expert_count=experts, expert_used_count=used, expert_feed_forward_length=expert_width)
    model.set(expert_shared_count=shared, expert_weights_scale=1.0)
    model.add_vocabulary(vocabulary)
    model.add("token_embd", embedding, vocabulary)
    model.add("output_norm", embedding)
    model.add("output", embedding, vocabulary, type="q6_k")
    for layer in range(layers):
        block = f"blk.{layer}."
        model.add(f"{block}attn_norm", embedding)
        model.add(f"{block}attn_kv_a_norm", latent)
        _add_latent_query(model, block, embedding, query_latent, heads * key_length)
        model.add(f"{block}attn_kv_a_mqa", embedding, latent + rope, type="q8_0")
        model.add(f"{block}attn_k_b", key_length - rope, latent, heads, type="q8_0")
        model.add(f"{block}attn_v_b", latent, value_length, heads, type="q8_0")
        model.add(f"{block}attn_output", heads * value_length, embedding)
        model.add(f"{block}ffn_norm", embedding)
        if layer < dense_layers:
            add_feed_forward(model, block, embedding, feed_forward, "q8_0")
        else:
            add_experts(model, block, embedding, expert_width, experts, "q8_0")
            add_shared_expert(model, block, embedding, expert_width * shared)
    return model


def _add_latent_query(model: Model, block: str, embedding: int, latent: int, width: int) -> None:
    if not latent:
        model.add(f"{block}attn_q", embedding, width)
        return
    model.add(f"{block}attn_q_a", embedding, latent)
    model.add(f"{block}attn_q_a_norm", latent)
    model.add(f"{block}attn_q_b", latent, width)


def add_experts(model: Model, block: str, embedding: int, width: int, experts: int, down: str = "") -> None:
    """The router and the routed experts' three matrices."""
    model.add(f"{block}ffn_gate_inp", embedding, experts, type="f32")
    model.add(f"{block}ffn_gate_exps", embedding, width, experts)
    model.add(f"{block}ffn_up_exps", embedding, width, experts)
    model.add(f"{block}ffn_down_exps", width, embedding, experts, type=down)


def add_shared_expert(model: Model, block: str, embedding: int, width: int) -> None:
    """The expert that every token goes through."""
    model.add(f"{block}ffn_gate_shexp", embedding, width)
    model.add(f"{block}ffn_up_shexp", embedding, width)
    model.add(f"{block}ffn_down_shexp", width, embedding)
