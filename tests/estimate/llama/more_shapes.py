"""Tiny models of more architectures."""

from collections.abc import Callable

from gpumod.testing.shapes.builder import Model
from gpumod.testing.shapes.dense import add_attention, add_feed_forward, set_attention

WIDTH, HEADS, KV_HEADS, HEAD, FEED_FORWARD, WORDS = 256, 4, 2, 64, 512, 512


def _begin(architecture: str, kv_heads: tuple[int, ...] | int, layers: int, *, tied: bool = True) -> Model:
    model = Model(architecture)
    set_attention(model, WIDTH, layers, HEADS, 0, HEAD, 8192)
    heads = list(kv_heads) if isinstance(kv_heads, tuple) else kv_heads
    model.set(attention__head_count_kv=heads, feed_forward_length=FEED_FORWARD, vocab_size=WORDS)
    model.set(rope__dimension_count=HEAD)
    model.add_vocabulary(WORDS)
    model.add("token_embd", WIDTH, WORDS, type="q4_0" if tied else "")
    if not tied:
        model.add("output", WIDTH, WORDS)
    return model


def gemma2() -> Model:
    """Every second layer slides."""
    model = _begin("gemma2", KV_HEADS, 6)
    model.set(attention__sliding_window=512)
    model.add("output_norm", WIDTH)
    for layer in range(6):
        block = f"blk.{layer}."
        for norm in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"):
            model.add(f"{block}{norm}", WIDTH)
        add_attention(model, block, WIDTH, HEADS * HEAD, KV_HEADS * HEAD)
        add_feed_forward(model, block, WIDTH, FEED_FORWARD)
    return model


def granite_hybrid() -> Model:
    """mamba2 layers, and attention where there are KV heads."""
    kv, inner, state, groups, kernel = (0, 0, 0, 1, 0, 0), 2 * WIDTH, 32, 1, 4
    heads, convolved = inner // 64, inner + 2 * groups * state
    model = _begin("granitehybrid", kv, len(kv), tied=False)
    model.set(ssm__conv_kernel=kernel, ssm__inner_size=inner, ssm__state_size=state)
    model.set(ssm__time_step_rank=heads, ssm__group_count=groups)
    model.add("output_norm", WIDTH)
    for layer, count in enumerate(kv):
        block = f"blk.{layer}."
        model.add(f"{block}attn_norm", WIDTH)
        model.add(f"{block}ffn_norm", WIDTH)
        add_feed_forward(model, block, WIDTH, FEED_FORWARD)
        if count:
            add_attention(model, block, WIDTH, HEADS * HEAD, count * HEAD)
            continue
        model.add(f"{block}ssm_in", WIDTH, inner + convolved + heads)
        model.add(f"{block}ssm_conv1d", kernel, convolved, type="f32")
        model.add(f"{block}ssm_conv1d.bias", convolved)
        model.add(f"{block}ssm_dt.bias", heads)
        model.add(f"{block}ssm_a!", 1, heads, type="f32")
        model.add(f"{block}ssm_d!", 1, heads, type="f32")
        model.add(f"{block}ssm_norm", inner // groups, groups, type="f32")
        model.add(f"{block}ssm_out", inner, WIDTH)
    return model


def kimi_linear() -> Model:
    """Delta attention, and compressed keys where there are KV heads."""
    kv, rank, rope, key, value, head, kernel = (0, 0, 0, 1, 0, 0, 0, 1), 128, 32, 96, 64, 64, 4
    model = _begin("kimi-linear", kv, len(kv), tied=False)
    model.set(attention__key_length=rank + rope, attention__value_length=rank, rope__dimension_count=rope)
    model.set(attention__key_length_mla=key, attention__value_length_mla=value, attention__kv_lora_rank=rank)
    model.set(ssm__conv_kernel=kernel, kda__head_dim=head, leading_dense_block_count=len(kv))
    model.set(expert_count=4, expert_used_count=2, expert_feed_forward_length=64, expert_shared_count=1)
    model.set(expert_gating_func=2)
    model.add("output_norm", WIDTH)
    wide = head * HEADS
    for layer, count in enumerate(kv):
        block = f"blk.{layer}."
        model.add(f"{block}attn_norm", WIDTH)
        model.add(f"{block}ffn_norm", WIDTH)
        add_feed_forward(model, block, WIDTH, FEED_FORWARD)
        if count:
            model.add(f"{block}attn_kv_a_norm", rank)
            model.add(f"{block}attn_q", WIDTH, HEADS * key)
            model.add(f"{block}attn_kv_a_mqa", WIDTH, rank + rope)
            model.add(f"{block}attn_k_b", key - rope, rank, HEADS)
            model.add(f"{block}attn_v_b", rank, value, HEADS)
            model.add(f"{block}attn_output", HEADS * value, WIDTH)
            continue
        for part in "qkv":
            model.add(f"{block}ssm_conv1d_{part}", kernel, 1, wide, type="f32")
        add_attention(model, block, WIDTH, wide, wide)
        for gate in ("f", "g"):
            model.add(f"{block}ssm_{gate}_a", WIDTH, head)
            model.add(f"{block}ssm_{gate}_b", head, wide)
        model.add(f"{block}ssm_beta", WIDTH, HEADS)
        model.add(f"{block}ssm_a!", 1, HEADS, type="f32")
        model.add(f"{block}ssm_dt.bias", wide)
        model.add(f"{block}ssm_norm", head)
    return model


MORE: dict[str, Callable[[], Model]] = {
    "tiny-gemma2": gemma2,
    "tiny-granitehybrid": granite_hybrid,
    "tiny-kimi-linear": kimi_linear,
}
