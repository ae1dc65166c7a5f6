"""Models with one peculiarity more: glm4moe's extra layer, lfm2's short convolutions."""

from __future__ import annotations

from gpumod.testing.shapes.builder import Model
from gpumod.testing.shapes.dense import add_attention, add_feed_forward, add_qk_norm, set_attention
from gpumod.testing.shapes.experts import add_experts, add_shared_expert


def glm4moe(
    *,
    embedding: int = 4096,
    layers: int = 46,
    heads: int = 96,
    kv_heads: int = 8,
    head_dim: int = 128,
    feed_forward: int = 10944,
    dense_layers: int = 1,
    expert_width: int = 1408,
    experts: int = 128,
    used: int = 8,
    shared: int = 1,
    mtp: int = 1,
    vocabulary: int = 151552,
    context: int = 131072,
) -> Model:
    """GLM-4.5-Air: heads wider than the embedding, and `mtp` layers behind the others."""
    model = Model("glm4moe")
    set_attention(model, embedding, layers + mtp, heads, kv_heads, head_dim, context)
    model.set(feed_forward_length=feed_forward, rope__dimension_count=head_dim // 2, rope__freq_base=1e6)
    model.set(expert_count=experts, expert_used_count=used, expert_feed_forward_length=expert_width)
    model.set(expert_shared_count=shared, leading_dense_block_count=dense_layers, expert_weights_scale=1.0)
    model.set(nextn_predict_layers=mtp, vocab_size=vocabulary)
    model.add_vocabulary(vocabulary)
    model.add("token_embd", embedding, vocabulary)
    model.add("output_norm", embedding)
    model.add("output", embedding, vocabulary, type=model.better)
    for layer in range(layers + mtp):
        block = f"blk.{layer}."
        more = model.in_mix(layer, layers)
        query, kv = heads * head_dim, kv_heads * head_dim
        model.add(f"{block}attn_norm", embedding)
        add_attention(model, block, embedding, query, kv, more)
        for part, width in (("q", query), ("k", kv), ("v", kv)):
            model.add(f"{block}attn_{part}.bias", width)
        model.add(f"{block}post_attention_norm", embedding)
        if layer < dense_layers:
            add_feed_forward(model, block, embedding, feed_forward, more)
        else:
            add_experts(model, block, embedding, expert_width, experts, "q8_0")
            model.add(f"{block}exp_probs_b.bias", experts)
            add_shared_expert(model, block, embedding, expert_width * shared)
        if layer >= layers:
            model.add(f"{block}nextn.eh_proj", 2 * embedding, embedding)
            for norm in ("enorm", "hnorm", "shared_head_norm"):
                model.add(f"{block}nextn.{norm}", embedding)
    return model


def lfm2(
    *,
    embedding: int = 2048,
    attention_at: tuple[int, ...] = (2, 5, 8, 10, 12, 14),
    layers: int = 16,
    heads: int = 32,
    kv_heads: int = 8,
    head_dim: int = 64,
    feed_forward: int = 8192,
    kernel: int = 3,
    vocabulary: int = 65536,
    context: int = 128000,
) -> Model:
    """Short convolutions, with attention in the layers `attention_at`; tied."""
    model = Model("lfm2")
    set_attention(model, embedding, layers, heads, 0, head_dim, context)
    model.set(attention__head_count_kv=[kv_heads * (layer in attention_at) for layer in range(layers)])
    model.set(feed_forward_length=feed_forward, rope__freq_base=1e6, shortconv__l_cache=kernel)
    model.set(vocab_size=vocabulary)
    model.add_vocabulary(vocabulary)
    model.add("token_embd", embedding, vocabulary, type=model.better)
    model.add("token_embd_norm", embedding)
    for layer in range(layers):
        block = f"blk.{layer}."
        more = model.in_mix(layer, layers)
        model.add(f"{block}attn_norm", embedding)
        if layer in attention_at:
            add_attention(model, block, embedding, heads * head_dim, kv_heads * head_dim, more)
            add_qk_norm(model, block, head_dim)
        else:
            model.add(f"{block}shortconv.conv", kernel, embedding, type="f32")
            model.add(f"{block}shortconv.in_proj", embedding, 3 * embedding)
            model.add(f"{block}shortconv.out_proj", embedding, embedding)
        model.add(f"{block}ffn_norm", embedding)
        add_feed_forward(model, block, embedding, feed_forward, more)
    return model
