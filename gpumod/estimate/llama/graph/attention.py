"""Attention: queries, keys and values, the caches, and what is made of them.

After `build_qkv`, `build_attn` and `build_attn_mha` of llama.cpp's `src/llama-graph.cpp`.
"""

from __future__ import annotations

from gpumod.estimate.gguf.types import GgmlType
from gpumod.estimate.llama.graph.node import (
    F16,
    F32,
    Node,
    cast,
    concat,
    cont,
    like,
    linear,
    make,
    matmul,
    norm,
    part,
    permute,
    reshape,
    shape,
    store,
    transpose,
    view,
)  # fmt: skip
from gpumod.estimate.llama.graph.source import Source

Heads = tuple[Node, Node | None, Node | None]
"""Queries, keys and values, each of shape (head, heads, tokens); no keys where another layer's are used."""


def attention(source: Source, layer: int, value: Node) -> Node:
    """A layer's attention, from its normalised input to the output matrix's result."""
    if source.model.mla is not None and source.has(layer, "attn_k_b"):
        return _latent(source, layer, value)
    if _is_gated(source, layer):
        return _gated(source, layer, value)
    heads = _project(source, layer, value)
    made = attend(source, layer, heads)
    if (weight := source.own(layer, "attn_sub_norm")) is not None:
        made = norm(made, weight)
    return linear(source.need(layer, "attn_output"), made, source.own(layer, "attn_output.bias"))


def _is_gated(source: Source, layer: int) -> bool:
    """Whether the query matrix makes a gate beside the queries (qwen3next, qwen3.5)."""
    query, one = source.own(layer, "attn_q"), source.model.layers[layer]
    return query is not None and one.heads > 0 and query.ne[1] == 2 * one.heads * one.key


def _project(source: Source, layer: int, value: Node) -> Heads:
    one, tokens = source.model.layers[layer], source.batch.tokens
    fused = source.own(layer, "attn_qkv")
    query: Node
    key: Node | None
    item: Node | None
    if fused is not None:
        made = linear(fused, value, source.own(layer, "attn_qkv.bias"))
        row = made.nb[1]
        query = part(made, one.key, one.heads, tokens, nb=(4 * one.key, row))
        key = part(made, one.key, one.kv_heads, tokens, nb=(4 * one.key, row))
        item = part(made, one.value, one.kv_heads, tokens, nb=(4 * one.value, row))
    else:
        whole = source.model.architecture.startswith("olmo")
        query = _side(source, layer, value, "q", (one.key, one.heads), whole=whole)
        if not one.own_kv:
            return _turned(source, layer, query, "q", whole=whole), None, None
        key = _side(source, layer, value, "k", (one.key, one.kv_heads), whole=whole)
        # Where there is no value matrix, the keys before their norm are the values.
        shared = source.own(layer, "attn_v") is None
        item = key if shared else _side(source, layer, value, "v", (one.value, one.kv_heads), whole=False)
        if source.model.architecture == "gemma4":
            item = norm(item)
    return (
        _turned(source, layer, query, "q", whole=False),
        _turned(source, layer, key, "k", whole=False),
        item,
    )


def _side(source: Source, layer: int, value: Node, side: str, heads: tuple[int, int], *, whole: bool) -> Node:
    """One of the three products, by heads; `whole`: its norm spans all heads."""
    made = linear(source.need(layer, f"attn_{side}"), value, source.own(layer, f"attn_{side}.bias"))
    weight = source.own(layer, f"attn_{side}_norm")
    if whole and weight is not None:
        made = norm(made, weight)
    return reshape(made, *heads, source.batch.tokens)


def _turned(source: Source, layer: int, value: Node, side: str, *, whole: bool) -> Node:
    """Normalised and rotated by position; a layer without either is left as it is."""
    weight = source.own(layer, f"attn_{side}_norm")
    olmo = source.model.architecture.startswith("olmo")
    if weight is not None and not whole and not olmo:
        value = norm(value, weight, source.own(layer, f"attn_{side}_norm.bias"))
    if source.model.rope and source.model.architecture not in _WITHOUT_ROPE:
        factors = _rope_factors(source, layer)
        return like("rope", value, source.positions, *factors)
    return value


def _rope_factors(source: Source, layer: int) -> tuple[Node, ...]:
    """The frequencies' factors, of which every device with layers has a copy."""
    home = source.device(layer)
    if source.model.architecture == "gemma4" and source.model.layers[layer].sliding:
        return ()
    found = source.weight("rope_freqs.weight", home) or source.weight("rope_factors_long.weight", home)
    return () if found is None else (Node("none", F32, found.ne, held=True, weight=True, home=home),)


_WITHOUT_ROPE = frozenset({"bert", "bloom", "gpt2", "jais", "jamba", "jina-bert-v2", "mpt", "nemotron_h",
                           "nemotron_h_moe", "refact", "starcoder"})  # fmt: skip
"""They encode positions otherwise."""


def _gated(source: Source, layer: int, value: Node) -> Node:
    """Attention whose result is multiplied with a gate that the query matrix made."""
    one, tokens = source.model.layers[layer], source.batch.tokens
    both = linear(source.need(layer, "attn_q"), value)
    key = linear(source.need(layer, "attn_k"), value)
    item = linear(source.need(layer, "attn_v"), value)
    steps = (8 * one.key, 8 * one.key * one.heads)
    query = norm(part(both, one.key, one.heads, tokens, nb=steps), source.own(layer, "attn_q_norm"))
    key = norm(reshape(key, one.key, one.kv_heads, tokens), source.own(layer, "attn_k_norm"))
    gate = cont(part(both, one.key, one.heads, tokens, nb=steps), one.key * one.heads, tokens)
    query, key = like("rope", query, source.positions), like("rope", key, source.positions)
    made = attend(source, layer, (query, key, reshape(item, one.value, one.kv_heads, tokens)))
    return linear(source.need(layer, "attn_output"), like("mul", made, like("unary", gate)))


def _latent(source: Source, layer: int, value: Node) -> Node:
    """Multi-head latent attention with the matrices absorbed: one key head, no values (`deepseek2.cpp`)."""
    mla, one, tokens = source.model.mla, source.model.layers[layer], source.batch.tokens
    if mla is None:
        raise KeyError("attention.kv_lora_rank")
    if (low := source.own(layer, "attn_q_a")) is not None:
        query = norm(matmul(low, value), source.own(layer, "attn_q_a_norm"))
        query = matmul(source.need(layer, "attn_q_b"), query)
    else:
        query = matmul(source.need(layer, "attn_q"), value)
    query = reshape(query, mla.key, one.heads, tokens)
    both = matmul(source.need(layer, "attn_kv_a_mqa"), value)
    packed = part(both, mla.rank, tokens, nb=(both.nb[1],))
    turned = part(both, mla.rope, 1, tokens, nb=(both.nb[1], both.nb[1]))
    turned = like("rope", turned, source.positions)
    packed = norm(packed, source.own(layer, "attn_kv_a_norm"))
    plain = part(query, mla.key - mla.rope, one.heads, tokens, nb=query.nb[1:3])
    rotated = like("rope", part(query, mla.rope, one.heads, tokens, nb=query.nb[1:3]), source.positions)
    absorbed = matmul(source.need(layer, "attn_k_b"), permute(plain, 0, 2, 1, 3))
    heads = concat(permute(absorbed, 0, 2, 1, 3), rotated)
    packed = reshape(packed, mla.rank, 1, tokens)
    made = attend(
        source, layer, (heads, concat(packed, turned), packed), spread=source.need(layer, "attn_v_b")
    )
    return linear(source.need(layer, "attn_output"), made)


def attend(source: Source, layer: int, heads: Heads, *, spread: Node | None = None) -> Node:
    """What the queries find, one row of all heads per token.

    Args:
        source: the graph's.
        layer: the layer's number.
        heads: what to attend with.
        spread: of latent attention: the matrix that makes each head's values of what was found.
    """
    if not source.model.memory:
        return _find(source, heads, source.window(sliding=False).mask, spread)
    graph, one = source.graph, source.model.layers[layer]
    window = source.window(sliding=one.sliding)
    query, key, item = heads
    turn_keys, turn_values = window.rotations if spread is None else (None, None)
    if turn_keys is not None:
        query = _rotate(query, turn_keys)
        key = None if key is None else _rotate(key, turn_keys)
    if turn_values is not None and item is not None:
        item = _rotate(item, turn_values)
    order = (query, key, item) if source.model.sliding else (query, item, key)
    for node in order:
        if node is not None:
            graph.expand(node)
    keys = source.held(layer, source.key_type(), 1)
    values = keys if spread is not None else source.held(layer, source.value_type(), 1)
    if key is not None and item is not None:
        graph.expand(store("set_rows", keys, _rows(key), window.keys))
        if spread is None:
            graph.expand(_store_values(source, values, item, window.values))
    width, value_width = query.ne[0], (item.ne[0] if item is not None else one.value)
    count = 1 if spread is not None else one.kv_heads
    streams, cells = source.batch.sequences, window.cells
    seen = _cached(keys, width, count, cells, streams)
    straight = source.setting.flash_attention or spread is not None
    found = (
        _cached(values, value_width, count, cells, streams)
        if straight
        else view(
            values, (cells, count, value_width, streams), _columns(values.type, cells, count, value_width)
        )
    )
    made = _find(source, (query, seen, found), window.mask, spread)
    return _rotate(made, turn_values) if turn_values is not None else made


def _rotate(value: Node, matrix: Node) -> Node:
    """Turned by a Hadamard matrix (`llama_mul_mat_hadamard`)."""
    side = matrix.ne[0]
    flat = (side, value.values // side)
    made = matmul(matrix, reshape(value, *flat) if value.is_contiguous() else cont(value, *flat))
    return reshape(made, *value.ne)


def _rows(value: Node) -> Node:
    return part(value, value.ne[0] * value.ne[1], value.ne[2], nb=(value.nb[2],))


def _store_values(source: Source, cache: Node, value: Node, ids: Node) -> Node:
    if source.setting.flash_attention:
        return store("set_rows", cache, _rows(value), ids)
    width = value.ne[0] * value.ne[1]
    packed = width * value.type.size == value.nb[2]
    flat = reshape(value, width, value.ne[2]) if packed else cont(value, width, value.ne[2])
    widest = max(layer.value_width for layer in source.model.layers)
    if width < widest:
        flat = make("pad", shape(widest, value.ne[2]), flat)
    return store("set_rows", cache, reshape(flat, 1, flat.values), ids)


def _cached(cache: Node, width: int, heads: int, cells: int, streams: int) -> Node:
    row = cache.type.row_bytes(width)
    return view(
        cache, (width, heads, cells, streams), (cache.type.size, row, row * heads, row * heads * cells)
    )


def _columns(kind: GgmlType, cells: int, heads: int, width: int) -> tuple[int, int, int, int]:
    """Steps of a value cache that is kept transposed."""
    row = kind.row_bytes(cells)
    return kind.size, row * width, row, row * width * heads


def _find(source: Source, heads: Heads, mask: Node, spread: Node | None) -> Node:
    query, key, item = heads
    if key is None or item is None:
        raise KeyError("attn_k.weight")
    streams = key.ne[3]
    each = query.ne[2] // streams
    query = view(query, (*query.ne[:2], each, streams), (*query.nb[:3], query.nb[2] * each))
    query, key, item = (permute(one, 0, 2, 1, 3) for one in (query, key, item))
    if source.setting.flash_attention:
        made = _flash(source, query, key, item, mask)
        if spread is not None:
            made = cont(permute(matmul(spread, permute(made, 0, 2, 1, 3)), 0, 2, 1, 3))
        made = reshape(made, made.ne[0] * made.ne[1], made.ne[2] * made.ne[3])
    else:
        scores = like("soft_max", matmul(key, query), mask)
        if heads[2] is not None and heads[2].nb[1] <= heads[2].nb[2]:
            item = cont(transpose(item))
        made = matmul(item, scores)
        if spread is not None:
            made = matmul(spread, made)
        made = permute(made, 0, 2, 1, 3)
        made = cont(made, made.ne[0] * made.ne[1], made.ne[2] * made.ne[3])
    source.graph.expand(made)
    return made


def _flash(source: Source, query: Node, key: Node, item: Node, mask: Node) -> Node:
    """Flash attention; a GPU wants keys and values of other types in half precision beside the result."""
    key = cast(key, F16) if key.type == F32 and not source.model.memory else key
    item = cast(item, F16) if item.type == F32 and not source.model.memory else item
    made = make("flash_attn", (item.ne[0], query.ne[2], query.ne[1], query.ne[3]), query, key, item, mask)
    if query.ne[1] > 2:
        aligned = -(-made.size // 128) * 128
        # Latent attention's values are part of its keys: one copy serves both.
        copied = (key,) if item.of is key.of else (key, item)
        copies = [-(-one.values * 2 // 128) * 128 for one in copied if one.type != F16]
        made.extra = sum(copies) + aligned - made.size if copies else 0
    return made
