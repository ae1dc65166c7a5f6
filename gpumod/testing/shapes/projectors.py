"""Projectors: the second file of a model that sees."""

from __future__ import annotations

from gpumod.testing.shapes.builder import Model


def gemma3_projector(
    *,
    width: int = 1152,
    layers: int = 27,
    heads: int = 16,
    feed_forward: int = 4304,
    image: int = 896,
    patch: int = 14,
    embedding: int = 2560,
    matrices: str = "f16",
) -> Model:
    """SigLIP with gemma3's projection to the language model's `embedding`."""
    model = Model("clip", matrices, matrices)
    model.metadata["clip.projector_type"] = "gemma3"
    model.set(has_vision_encoder=True, use_gelu=True)
    model.set(
        vision__image_size=image,
        vision__patch_size=patch,
        vision__embedding_length=width,
        vision__feed_forward_length=feed_forward,
        vision__block_count=layers,
        vision__projection_dim=embedding,
        vision__attention__head_count=heads,
        vision__attention__layer_norm_epsilon=1e-6,
        vision__image_mean=[0.5, 0.5, 0.5],
        vision__image_std=[0.5, 0.5, 0.5],
    )
    model.add("mm.input_projection", embedding, width)
    model.add("mm.soft_emb_norm", width)
    model.add("v.patch_embd", patch, patch, 3, width, type="f16")
    model.add("v.patch_embd.bias", width)
    model.add("v.position_embd", width, (image // patch) ** 2, type="f32")
    for layer in range(layers):
        block = f"v.blk.{layer}."
        for part, row, column in (
            ("attn_q", width, width),
            ("attn_k", width, width),
            ("attn_v", width, width),
            ("attn_out", width, width),
            ("ffn_up", width, feed_forward),
            ("ffn_down", feed_forward, width),
        ):
            model.add(f"{block}{part}", row, column)
            model.add(f"{block}{part}.bias", column)
        _add_norm(model, f"{block}ln1", width)
        _add_norm(model, f"{block}ln2", width)
    _add_norm(model, "v.post_ln", width)
    return model


def _add_norm(model: Model, name: str, width: int) -> None:
    model.add(name, width)
    model.add(f"{name}.bias", width)
