"""gemma4: heads of two sizes, shared caches, experts beside a dense network, embeddings per layer."""

from __future__ import annotations

from gpumod.testing.shapes.builder import Model
from gpumod.testing.shapes.dense import add_feed_forward, set_attention


def gemma4(
    *,
    embedding: int = 2816,
    layers: int = 30,
    heads: int = 16,
    window_kv_heads: int = 8,
    full_kv_heads: int = 2,
    window_head_dim: int = 256,
    full_head_dim: int = 512,
    feed_forward: int = 2112,
    experts: int = 128,
    used: int = 8,
    expert_width: int = 704,
    per_layer: int = 0,
    shared: int = 0,
    separate_values: bool = False,
    vocabulary: int = 262144,
    context: int = 262144,
    window: int = 1024,
    matrices: str = "q4_k",
    better: str = "q6_k",
) -> Model:
    """Five layers with a sliding window to one without; tied.

    Each layer adds an embedding of `per_layer` values, if not 0; the last `shared` layers use the cache of an
    earlier one; without `separate_values` full attention uses its keys as values.
    """
    model = Model("gemma4", matrices, better)
    full = [(layer + 1) % 6 == 0 for layer in range(layers)]
    set_attention(model, embedding, layers, heads, 0, full_head_dim, context, epsilon=1e-6)
    model.set(
        attention__head_count_kv=[full_kv_heads if one else window_kv_heads for one in full],
        attention__key_length_swa=window_head_dim,
        attention__value_length_swa=window_head_dim,
        attention__sliding_window=window,
        attention__sliding_window_pattern=[not one for one in full],
        attention__shared_kv_layers=shared,
        embedding_length_per_layer_input=per_layer,
        feed_forward_length=feed_forward,
        final_logit_softcapping=30.0,
        rope__dimension_count=full_head_dim,
        rope__dimension_count_swa=window_head_dim,
        rope__freq_base=1e6,
        rope__freq_base_swa=10000.0,
        vocab_size=vocabulary,
    )
    if experts:
        model.set(expert_count=experts, expert_used_count=used, expert_feed_forward_length=expert_width)
    model.add_vocabulary(vocabulary)
    model.add("token_embd", embedding, vocabulary, type=better)
    if per_layer:
        model.add("per_layer_token_embd", per_layer * layers, vocabulary, type=better)
        model.add("per_layer_model_proj", embedding, per_layer * layers, type="bf16")
        model.add("per_layer_proj_norm", per_layer)
    model.add("output_norm", embedding)
    model.add("rope_freqs", full_head_dim // 2)
    for layer in range(layers):
        block = f"blk.{layer}."
        head_dim, kv_heads = (
            (full_head_dim, full_kv_heads) if full[layer] else (window_head_dim, window_kv_heads)
        )
        model.add(f"{block}attn_norm", embedding)
        model.add(f"{block}attn_q", embedding, heads * head_dim)
        model.add(f"{block}attn_q_norm", head_dim)
        if layer < layers - shared:
            model.add(f"{block}attn_k", embedding, kv_heads * head_dim)
            model.add(f"{block}attn_k_norm", head_dim)
            if separate_values or not full[layer]:
                model.add(f"{block}attn_v", embedding, kv_heads * head_dim, type=model.in_mix(layer, layers))
        model.add(f"{block}attn_output", heads * head_dim, embedding)
        _add_networks(model, block, embedding, feed_forward, model.in_mix(layer, layers))
        if experts:
            _add_experts(model, block, embedding, expert_width, experts)
        if per_layer:
            model.add(f"{block}inp_gate", embedding, per_layer)
            model.add(f"{block}proj", per_layer, embedding)
            model.add(f"{block}post_norm", embedding)
    return model


def _add_networks(model: Model, block: str, embedding: int, feed_forward: int, down: str) -> None:
    model.add(f"{block}post_attention_norm", embedding)
    model.add(f"{block}layer_output_scale", 1)
    model.add(f"{block}ffn_norm", embedding)
    add_feed_forward(model, block, embedding, feed_forward, down)
    model.add(f"{block}post_ffw_norm", embedding)


def _add_experts(model: Model, block: str, embedding: int, width: int, experts: int) -> None:
    model.add(f"{block}ffn_gate_inp", embedding, experts, type="f32")
    model.add(f"{block}ffn_gate_inp.scale!", embedding)
    model.add(f"{block}pre_ffw_norm_2", embedding)
    model.add(f"{block}post_ffw_norm_1", embedding)
    model.add(f"{block}post_ffw_norm_2", embedding)
    model.add(f"{block}ffn_gate_up_exps", embedding, 2 * width, experts)
    model.add(f"{block}ffn_down_exps", width, embedding, experts)
