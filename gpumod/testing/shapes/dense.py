"""Dense transformers: the shapes of llama and its relatives, and of gemma."""

from __future__ import annotations

from gpumod.testing.shapes.builder import Model


def llama(
    *,
    architecture: str = "llama",
    embedding: int = 4096,
    layers: int = 32,
    heads: int = 32,
    kv_heads: int = 8,
    head_dim: int = 128,
    feed_forward: int = 14336,
    vocabulary: int = 128256,
    context: int = 131072,
    tied: bool = False,
    qkv_bias: bool = False,
    qk_norm: bool = False,
    rope_factors: bool = False,
    matrices: str = "q4_k",
    better: str = "q6_k",
) -> Model:
    """llama, mistral, qwen2 (`qkv_bias`) and qwen3 (`qk_norm`)."""
    model = Model(architecture, matrices, better)
    set_attention(model, embedding, layers, heads, kv_heads, head_dim, context)
    model.set(feed_forward_length=feed_forward, rope__dimension_count=head_dim, rope__freq_base=500000.0)
    model.set(vocab_size=vocabulary)
    model.add_vocabulary(vocabulary)
    model.add("token_embd", embedding, vocabulary, type=better if tied else "")
    model.add("output_norm", embedding)
    if not tied:
        model.add("output", embedding, vocabulary, type=better)
    if rope_factors:
        model.add("rope_freqs", head_dim // 2)
    for layer in range(layers):
        block = f"blk.{layer}."
        more = model.in_mix(layer, layers)
        model.add(f"{block}attn_norm", embedding)
        add_attention(model, block, embedding, heads * head_dim, kv_heads * head_dim, more)
        if qkv_bias:
            model.add(f"{block}attn_q.bias", heads * head_dim)
            model.add(f"{block}attn_k.bias", kv_heads * head_dim)
            model.add(f"{block}attn_v.bias", kv_heads * head_dim)
        if qk_norm:
            add_qk_norm(model, block, head_dim)
        model.add(f"{block}ffn_norm", embedding)
        add_feed_forward(model, block, embedding, feed_forward, more)
    return model


def gemma3(
    *,
    embedding: int = 3840,
    layers: int = 48,
    heads: int = 16,
    kv_heads: int = 8,
    head_dim: int = 256,
    feed_forward: int = 15360,
    vocabulary: int = 262208,
    context: int = 131072,
    window: int = 1024,
    matrices: str = "q4_k",
    better: str = "q6_k",
) -> Model:
    """Five layers with a sliding window to one without; tied embeddings."""
    model = Model("gemma3", matrices, better)
    set_attention(model, embedding, layers, heads, kv_heads, head_dim, context, epsilon=1e-6)
    model.set(feed_forward_length=feed_forward, rope__freq_base=1e6, attention__sliding_window=window)
    model.set(vocab_size=vocabulary)
    model.add_vocabulary(vocabulary)
    model.add("token_embd", embedding, vocabulary, type=better)
    model.add("output_norm", embedding)
    for layer in range(layers):
        block = f"blk.{layer}."
        more = model.in_mix(layer, layers)
        model.add(f"{block}attn_norm", embedding)
        add_attention(model, block, embedding, heads * head_dim, kv_heads * head_dim, more)
        add_qk_norm(model, block, head_dim)
        model.add(f"{block}post_attention_norm", embedding)
        model.add(f"{block}ffn_norm", embedding)
        add_feed_forward(model, block, embedding, feed_forward, more)
        model.add(f"{block}post_ffw_norm", embedding)
    return model


def set_attention(
    model: Model,
    embedding: int,
    layers: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    context: int,
    *,
    epsilon: float = 1e-5,
) -> None:
    """The keys that nearly every transformer has."""
    model.set(
        context_length=context,
        embedding_length=embedding,
        block_count=layers,
        attention__head_count=heads,
        attention__head_count_kv=kv_heads,
        attention__key_length=head_dim,
        attention__value_length=head_dim,
        attention__layer_norm_rms_epsilon=epsilon,
    )


def add_attention(model: Model, block: str, embedding: int, q: int, kv: int, v_type: str = "") -> None:
    """The four matrices of attention with grouped heads; `q` and `kv` are their widths."""
    model.add(f"{block}attn_q", embedding, q)
    model.add(f"{block}attn_k", embedding, kv)
    model.add(f"{block}attn_v", embedding, kv, type=v_type)
    model.add(f"{block}attn_output", q, embedding)


def add_qk_norm(model: Model, block: str, head_dim: int) -> None:
    """The norms of a head's query and key."""
    model.add(f"{block}attn_q_norm", head_dim)
    model.add(f"{block}attn_k_norm", head_dim)


def add_feed_forward(model: Model, block: str, embedding: int, width: int, down_type: str = "") -> None:
    """A gated feed-forward network."""
    model.add(f"{block}ffn_gate", embedding, width)
    model.add(f"{block}ffn_up", embedding, width)
    model.add(f"{block}ffn_down", width, embedding, type=down_type)
