"""Dense transformers with their own tensors or norms: phi3, glm4, olmo2, command-r, granite, qwen2vl."""

from __future__ import annotations

from gpumod.testing.shapes.builder import Model
from gpumod.testing.shapes.dense import add_attention, add_feed_forward, llama, set_attention


def phi3(
    *,
    embedding: int = 5120,
    layers: int = 40,
    heads: int = 40,
    kv_heads: int = 10,
    head_dim: int = 128,
    feed_forward: int = 17920,
    vocabulary: int = 100352,
    context: int = 16384,
) -> Model:
    """Query, key and value in one matrix, gate and up in another."""
    model = Model("phi3")
    set_attention(model, embedding, layers, heads, kv_heads, head_dim, context)
    model.set(feed_forward_length=feed_forward, rope__dimension_count=head_dim, rope__freq_base=250000.0)
    _add_ends(model, embedding, vocabulary)
    for layer in range(layers):
        block = f"blk.{layer}."
        more = model.in_mix(layer, layers)
        model.add(f"{block}attn_norm", embedding)
        model.add(f"{block}attn_qkv", embedding, (heads + 2 * kv_heads) * head_dim, type=more)
        model.add(f"{block}attn_output", heads * head_dim, embedding)
        model.add(f"{block}ffn_norm", embedding)
        model.add(f"{block}ffn_up", embedding, 2 * feed_forward)
        model.add(f"{block}ffn_down", feed_forward, embedding, type=more)
    return model


def glm4(
    *,
    embedding: int = 6144,
    layers: int = 61,
    heads: int = 48,
    kv_heads: int = 2,
    head_dim: int = 128,
    feed_forward: int = 23040,
    vocabulary: int = 151552,
    context: int = 32768,
) -> Model:
    """Norms before and behind each half of a layer; gate and up in one matrix; half the head is rotated."""
    model = Model("glm4")
    set_attention(model, embedding, layers, heads, kv_heads, head_dim, context)
    model.set(feed_forward_length=feed_forward, rope__dimension_count=head_dim // 2, rope__freq_base=10000.0)
    _add_ends(model, embedding, vocabulary)
    for layer in range(layers):
        block = f"blk.{layer}."
        more = model.in_mix(layer, layers)
        model.add(f"{block}attn_norm", embedding)
        add_attention(model, block, embedding, heads * head_dim, kv_heads * head_dim, more)
        model.add(f"{block}post_attention_norm", embedding)
        model.add(f"{block}ffn_norm", embedding)
        model.add(f"{block}ffn_up", embedding, 2 * feed_forward)
        model.add(f"{block}ffn_down", feed_forward, embedding, type=more)
        model.add(f"{block}post_ffw_norm", embedding)
    return model


def olmo2(
    *,
    embedding: int = 5120,
    layers: int = 40,
    heads: int = 40,
    kv_heads: int = 40,
    head_dim: int = 128,
    feed_forward: int = 13824,
    vocabulary: int = 100352,
    context: int = 4096,
) -> Model:
    """Norms only behind each half of a layer, and over all heads at once; a cache for every head."""
    model = Model("olmo2")
    set_attention(model, embedding, layers, heads, kv_heads, head_dim, context)
    model.set(feed_forward_length=feed_forward, rope__dimension_count=head_dim, rope__freq_base=500000.0)
    _add_ends(model, embedding, vocabulary)
    for layer in range(layers):
        block = f"blk.{layer}."
        more = model.in_mix(layer, layers)
        add_attention(model, block, embedding, heads * head_dim, kv_heads * head_dim, more)
        model.add(f"{block}attn_q_norm", heads * head_dim)
        model.add(f"{block}attn_k_norm", kv_heads * head_dim)
        model.add(f"{block}post_attention_norm", embedding)
        add_feed_forward(model, block, embedding, feed_forward, more)
        model.add(f"{block}post_ffw_norm", embedding)
    return model


def command_r(
    *,
    architecture: str = "command-r",
    embedding: int = 8192,
    layers: int = 40,
    heads: int = 64,
    kv_heads: int = 8,
    head_dim: int = 128,
    feed_forward: int = 24576,
    vocabulary: int = 256000,
    context: int = 131072,
    window: int = 0,
) -> Model:
    """Attention and feed-forward side by side behind one norm; tied; cohere2 with a sliding `window`."""
    model = Model(architecture)
    set_attention(model, embedding, layers, heads, kv_heads, head_dim, context)
    model.set(attention__layer_norm_epsilon=1e-5, logit_scale=0.0625)
    model.set(feed_forward_length=feed_forward, rope__dimension_count=head_dim, rope__freq_base=8e6)
    if window:
        model.set(attention__sliding_window=window)
    model.add_vocabulary(vocabulary)
    model.add("token_embd", embedding, vocabulary, type=model.better)
    model.add("output_norm", embedding)
    for layer in range(layers):
        block = f"blk.{layer}."
        more = model.in_mix(layer, layers)
        model.add(f"{block}attn_norm", embedding)
        add_attention(model, block, embedding, heads * head_dim, kv_heads * head_dim, more)
        add_feed_forward(model, block, embedding, feed_forward, more)
    return model


def granite(
    *,
    embedding: int = 4096,
    layers: int = 40,
    heads: int = 32,
    kv_heads: int = 8,
    head_dim: int = 128,
    feed_forward: int = 12800,
    vocabulary: int = 49155,
    context: int = 131072,
) -> Model:
    """The tensors of llama with factors between them; a vocabulary that is no multiple of anything."""
    model = llama(
        architecture="granite",
        embedding=embedding,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        feed_forward=feed_forward,
        vocabulary=vocabulary,
        context=context,
        tied=True,
    )
    model.set(attention__scale=0.0078125, embedding_scale=12.0, residual_scale=0.22, logit_scale=16.0)
    return model


def qwen2vl(
    *,
    embedding: int = 3584,
    layers: int = 28,
    heads: int = 28,
    kv_heads: int = 4,
    head_dim: int = 128,
    feed_forward: int = 18944,
    vocabulary: int = 152064,
    context: int = 128000,
) -> Model:
    """The language half of Qwen2-VL and Qwen2.5-VL: qwen2 with positions in three dimensions."""
    model = llama(
        architecture="qwen2vl",
        embedding=embedding,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        feed_forward=feed_forward,
        vocabulary=vocabulary,
        context=context,
        qkv_bias=True,
    )
    model.set(rope__dimension_sections=[head_dim // 8, head_dim * 3 // 16, head_dim * 3 // 16, 0])
    return model


def _add_ends(model: Model, embedding: int, vocabulary: int) -> None:
    model.set(vocab_size=vocabulary)
    model.add_vocabulary(vocabulary)
    model.add("token_embd", embedding, vocabulary)
    model.add("output_norm", embedding)
    model.add("output", embedding, vocabulary, type=model.better)
