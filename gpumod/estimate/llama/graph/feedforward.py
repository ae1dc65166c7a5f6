"""Feed-forward parts: dense ones, and mixtures of experts (`build_ffn`, `build_moe_ffn`)."""

from __future__ import annotations

from typing import Final

from gpumod.estimate.llama.graph.node import (
    I32,
    Node,
    cont,
    like,
    linear,
    make,
    matmul,
    norm,
    reshape,
    shape,
    view,
)
from gpumod.estimate.llama.graph.source import Source

_MOST_FUSED: Final = 15
"""Experts per token up to which a GPU adds their results up in one step."""


def feed_forward(source: Source, layer: int, value: Node) -> Node:
    """A layer's feed-forward part, dense or of experts, whichever it has."""
    if source.has(layer, "ffn_gate_inp") and not source.has(layer, "ffn_up_exps.0"):
        return _mixture(source, layer, value)
    return dense(source, layer, value, "")


def dense(source: Source, layer: int, value: Node, kind: str) -> Node:
    """A dense part; `kind` is `_shexp` for the shared experts."""
    up, gate = source.own(layer, f"ffn_up{kind}"), source.own(layer, f"ffn_gate{kind}")
    down = source.need(layer, f"ffn_down{kind}")
    made = value if up is None else linear(up, value, source.own(layer, f"ffn_up{kind}.bias"))
    if gate is not None:
        made = like("glu", linear(gate, value, source.own(layer, f"ffn_gate{kind}.bias")), made)
    elif made.ne[0] == 2 * down.ne[0]:
        made = make("glu", (down.ne[0], *made.ne[1:]), made)
    else:
        made = like("unary", made)
    if (weight := source.own(layer, f"ffn_sub_norm{kind}")) is not None:
        made = norm(made, weight)
    return linear(down, made, source.own(layer, f"ffn_down{kind}.bias"))


def _mixture(source: Source, layer: int, value: Node) -> Node:
    """Experts, and the shared ones that every token goes through."""
    if (narrow := source.own(layer, "ffn_latent_down")) is not None:
        scores = linear(source.need(layer, "ffn_gate_inp"), value)
        made = experts(source, layer, matmul(narrow, value), scores=scores)
        made = matmul(source.need(layer, "ffn_latent_up"), made)
    else:
        made = experts(source, layer, value)
    if not source.has(layer, "ffn_down_shexp"):
        return made
    shared = dense(source, layer, value, "_shexp")
    if (gate := source.own(layer, "ffn_gate_inp_shexp")) is not None:
        shared = like("mul", shared, like("unary", matmul(gate, value)))
    return like("add", made, shared)


def experts(source: Source, layer: int, value: Node, *, scores: Node | None = None) -> Node:
    """The experts that each token chooses, added up."""
    graph, one = source.graph, source.model.layers[layer]
    count, used, tokens = source.model.experts, one.experts_used, value.ne[1]
    delayed = source.model.architecture == "gpt-oss"
    scores = scores or linear(source.need(layer, "ffn_gate_inp"), value)
    if (bias := source.own(layer, "ffn_gate_inp.bias")) is not None:
        scores = like("add", scores, bias)
    chances = scores if delayed else like("soft_max", scores)
    ranked = (
        chances if (bias := source.own(layer, "exp_probs_b.bias")) is None else like("add", chances, bias)
    )
    order = make("argsort", ranked.ne, ranked, kind=I32)
    chosen = view(order, shape(used, tokens), order.nb)
    weights = make("get_rows", shape(1, used, tokens), reshape(chances, 1, count, tokens), chosen)
    weights = _balanced(weights, used, tokens, delayed=delayed)
    graph.expand(weights)
    if not delayed and bias is None:
        kept = (scores, chances, order, weights)
        graph.keep(tuple(node for node in kept if not node.held), weights, following=True)
    made = _through(source, layer, reshape(value, value.ne[0], 1, tokens), chosen, weights)
    return _added(source, made, weights, used)


def _balanced(weights: Node, used: int, tokens: int, *, delayed: bool) -> Node:
    flat = reshape(weights, used, tokens)
    if delayed:
        return reshape(like("soft_max", flat), 1, used, tokens)
    total = like("clamp", make("sum_rows", shape(1, tokens), flat))
    return reshape(like("div", flat, total), 1, used, tokens)


def _through(source: Source, layer: int, value: Node, chosen: Node, weights: Node) -> Node:
    """Each chosen expert's result, before they are weighted."""
    used, tokens = chosen.ne[0], chosen.ne[1]
    down = source.need(layer, "ffn_down_exps")
    if source.model.architecture == "llama4":
        repeated = make("repeat", shape(value.ne[0], used, tokens), value)
        value = like("mul", repeated, weights)

    def product(name: str, value: Node) -> Node | None:
        matrix = source.own(layer, name)
        if matrix is None:
            return None
        made = make("mul_mat_id", shape(matrix.ne[1], used, tokens), matrix, value, chosen)
        bias = source.own(layer, f"{name}.bias")
        return made if bias is None else like("add_id", made, bias, chosen)

    both = product("ffn_gate_up_exps", value)
    if both is not None:
        half = view(both, shape(down.ne[0], used, tokens), both.nb)
        made = make("glu", half.ne, half, view(both, half.ne, both.nb))
    else:
        up, gate = product("ffn_up_exps", value), product("ffn_gate_exps", value)
        if up is None:
            raise KeyError(f"blk.{layer}.ffn_up_exps")
        made = like("unary", up) if gate is None else like("glu", gate, up)
    result = product("ffn_down_exps", made)
    if result is None:
        raise KeyError(f"blk.{layer}.ffn_down_exps")
    return result


def _added(source: Source, made: Node, weights: Node, used: int) -> Node:
    """The experts' results weighted and added up; a GPU does both at once and needs the unweighted ones."""
    graph, plain = source.graph, made
    if source.model.architecture != "llama4":
        made = like("mul", made, weights)
    graph.expand(made)
    rows = shape(made.ne[0], made.ne[2])
    parts = [
        view(made, rows, (made.nb[0], made.nb[2], made.nb[2] * rows[1], made.nb[2] * rows[1]))
        for _ in range(used)
    ]
    for one in parts:
        graph.expand(one)
    total = parts[0]
    for one in parts[1:]:
        total = make("add", rows, total, one)
        graph.expand(total)
    if used == 1:
        return cont(total)
    if used <= _MOST_FUSED and made is not plain:
        graph.keep((plain, weights), total)
    return total
