"""Encoders for embeddings: bert and nomic-bert. They have no cache."""

from __future__ import annotations

from gpumod.testing.shapes.builder import Model

_MEAN, _FIRST = 1, 2


def bert(
    *,
    embedding: int = 1024,
    layers: int = 24,
    heads: int = 16,
    feed_forward: int = 4096,
    vocabulary: int = 30522,
    context: int = 512,
    matrices: str = "f16",
) -> Model:
    """The shape of bge: learned positions, biases everywhere."""
    model = _encoder("bert", embedding, layers, heads, feed_forward, vocabulary, context, matrices)
    model.set(pooling_type=_FIRST)
    model.add("position_embd", embedding, context, type="f32")
    for layer in range(layers):
        block = f"blk.{layer}."
        for part, row, width in (
            ("attn_q", embedding, embedding),
            ("attn_k", embedding, embedding),
            ("attn_v", embedding, embedding),
            ("attn_output", embedding, embedding),
            ("ffn_up", embedding, feed_forward),
            ("ffn_down", feed_forward, embedding),
        ):
            model.add(f"{block}{part}", row, width)
            model.add(f"{block}{part}.bias", width)
        _add_norms(model, block, embedding)
    return model


def nomic_bert(
    *,
    embedding: int = 768,
    layers: int = 12,
    heads: int = 12,
    feed_forward: int = 3072,
    vocabulary: int = 30522,
    context: int = 2048,
    matrices: str = "f16",
) -> Model:
    """Rotated positions, a gated network, no biases but the norms'."""
    model = _encoder("nomic-bert", embedding, layers, heads, feed_forward, vocabulary, context, matrices)
    model.set(pooling_type=_MEAN, rope__freq_base=1000.0)
    for layer in range(layers):
        block = f"blk.{layer}."
        model.add(f"{block}attn_qkv", embedding, 3 * embedding)
        model.add(f"{block}attn_output", embedding, embedding)
        model.add(f"{block}ffn_up", embedding, feed_forward)
        model.add(f"{block}ffn_gate", embedding, feed_forward)
        model.add(f"{block}ffn_down", feed_forward, embedding)
        _add_norms(model, block, embedding)
    return model


def _encoder(
    architecture: str,
    embedding: int,
    layers: int,
    heads: int,
    feed_forward: int,
    vocabulary: int,
    context: int,
    matrices: str,
) -> Model:
    model = Model(architecture, matrices, matrices)
    model.set(context_length=context, embedding_length=embedding, block_count=layers)
    model.set(feed_forward_length=feed_forward, attention__head_count=heads, attention__causal=False)
    model.set(attention__layer_norm_epsilon=1e-12)
    model.add_vocabulary(vocabulary)
    model.metadata["tokenizer.ggml.token_type_count"] = 2
    model.add("token_embd", embedding, vocabulary)
    model.add("token_types", embedding, 2, type="f32")
    model.add("token_embd_norm", embedding)
    model.add("token_embd_norm.bias", embedding)
    return model


def _add_norms(model: Model, block: str, embedding: int) -> None:
    for norm in ("attn_output_norm", "layer_output_norm"):
        model.add(f"{block}{norm}", embedding)
        model.add(f"{block}{norm}.bias", embedding)
