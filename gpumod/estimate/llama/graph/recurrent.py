"""Layers with a recurrent state: gated delta nets, mamba and mamba2.

After `src/models/delta-net-base.cpp`, `qwen35.cpp`, `qwen3next.cpp` and `mamba-base.cpp` of llama.cpp.
"""

from __future__ import annotations

from gpumod.estimate.llama.graph.node import (
    F32,
    Node,
    concat,
    cont,
    like,
    linear,
    make,
    matmul,
    norm,
    reshape,
    rows,
    shape,
    store,
    transpose,
    view,
)  # fmt: skip
from gpumod.estimate.llama.graph.source import Source, mixes_inputs
from gpumod.estimate.llama.model import Recurrence


def recurrent(source: Source, layer: int, value: Node) -> Node:
    """A recurrent layer, from its normalised input to its result.

    Raises:
        KeyError: a weight is missing, or the kind of layer is none of these.
    """
    if source.has(layer, "shortconv.in_proj"):
        return _short_convolution(source, layer, value)
    if source.has(layer, "ssm_x"):
        return _mamba(source, layer, value)
    if source.has(layer, "ssm_in") and not source.has(layer, "ssm_ba"):
        return _mamba2(source, layer, value)
    if not source.has(layer, "attn_gate"):
        raise UnknownLayerError(source.model.architecture)
    return _delta_net(source, layer, value)


class UnknownLayerError(Exception):
    """A layer whose operations are not known here."""


def _short_convolution(source: Source, layer: int, value: Node) -> Node:
    sizes, batch = _dimensions(source), source.batch
    each, seqs, width = batch.tokens // batch.sequences, batch.sequences, value.ne[0]
    made = linear(source.need(layer, "shortconv.in_proj"), reshape(value, width, each, seqs))
    third = shape(width, each, seqs)
    gated = like("mul", view(made, third, made.nb), view(made, third, made.nb))
    table, old = _state(source, layer, sizes.convolution_row)
    kept = sizes.convolution_row // width
    joined = concat(reshape(old, kept, width, seqs), transpose(gated))
    for _ in range(min(_snapshots(source), each)):
        target = view(table, shape(sizes.convolution_row, seqs), table.nb)
        source.graph.expand(store("cpy", target, view(joined, shape(kept, width, seqs), joined.nb)))
    kernel = source.need(layer, "shortconv.conv")
    found = make("ssm_conv", third, joined, kernel)
    found = like("mul", view(made, third, made.nb), found)
    out = linear(source.need(layer, "shortconv.out_proj"), found)
    return reshape(out, out.ne[0], batch.tokens)


def _state(source: Source, layer: int, width: int) -> tuple[Node, Node]:
    """A layer's state of all rows, and the rows of the batch's sequences (`build_rs`)."""
    table = source.held(layer, F32, width, source.setting.state_rows(source.model))
    graph, ids = source.graph, source.state_rows()
    states = reshape(table, width, table.ne[1])
    graph.expand(_cleared(states))
    picked = rows(states, view(ids, shape(source.batch.sequences), ids.nb))
    graph.expand(picked)
    _keep_others(source, states)
    return table, picked


def _keep_others(source: Source, states: Node, *, scanned: bool = False) -> None:
    """Sequences that are not in the batch keep their state: none, in the largest batch.

    Where the scan itself picks the states of the batch's sequences, `MIXED_FROM` and later builds still
    gather those of all but one.
    """
    ids, count = source.state_rows(), 0
    if scanned and mixes_inputs(source.setting):
        count = source.batch.sequences - 1
    others = rows(states, view(ids, shape(count), ids.nb))
    others = view(others, shape(others.ne[0], 0), others.nb)
    source.graph.expand(store("cpy", view(states, others.ne, states.nb), others))


def _cleared(states: Node) -> Node:
    nothing = view(states, shape(0), states.nb)
    return Node("scale", F32, nothing.ne, (nothing,), nb=nothing.nb, of=nothing.of)


def _snapshots(source: Source) -> int:
    """States kept per sequence: the last one, and one per drafted token where it may be rolled back."""
    return source.setting.state_rows(source.model) // source.setting.slots


def _dimensions(source: Source) -> Recurrence:
    if source.model.recurrence is None:
        raise KeyError("ssm.state_size")
    return source.model.recurrence


def _save(source: Source, table: Node, state: Node) -> None:
    source.graph.expand(store("cpy", view(table, state.ne, table.nb), state))


def _delta_net(source: Source, layer: int, value: Node) -> Node:
    sizes, batch = _dimensions(source), source.batch
    each, seqs, heads = batch.tokens // batch.sequences, batch.sequences, sizes.rank
    width = sizes.inner // heads
    mixed = linear(source.need(layer, "attn_qkv"), value)
    mixed = reshape(mixed, mixed.ne[0], each, seqs)
    gate = linear(source.need(layer, "attn_gate"), value)
    beta, decay = _beta_and_decay(source, layer, value)
    joined = _convolution_input(source, layer, mixed, sizes)
    table, state = _state(source, layer, sizes.state_row)
    state = reshape(state, width, width, heads, seqs)
    made = _convolved(source, layer, joined, each)
    row = made.nb[1]
    query = _unit(view(made, (sizes.state, sizes.groups, each, seqs), (4, 4 * sizes.state, row, row * each)))
    key = _unit(view(made, (sizes.state, sizes.groups, each, seqs), (4, 4 * sizes.state, row, row * each)))
    item = view(made, (width, heads, each, seqs), (4, 4 * width, row, row * each))
    if sizes.groups != heads and source.model.architecture == "qwen3next":
        query, key = (_repeated(one, heads // sizes.groups) for one in (query, key))
    snapshots = _snapshots(source)
    grown = batch.tokens + snapshots * width * seqs
    net = make("gated_delta_net", shape(sizes.inner, grown), query, key, item, decay, beta, state)
    _save(source, table, view(net, shape(sizes.state_row, seqs, min(each, snapshots)), net.nb))
    found = view(net, (width, heads, each, seqs))
    found = norm(found, source.own(layer, "ssm_norm"))
    found = like("mul", found, like("unary", reshape(gate, width, heads, each, seqs)))
    out = matmul(source.need(layer, "ssm_out"), reshape(found, sizes.inner, each, seqs))
    return reshape(out, out.ne[0], batch.tokens)


def _beta_and_decay(source: Source, layer: int, value: Node) -> tuple[Node, Node]:
    sizes, batch = _dimensions(source), source.batch
    each, seqs, heads = batch.tokens // batch.sequences, batch.sequences, sizes.rank
    bias, slope = source.own(layer, "ssm_dt.bias"), source.need(layer, "ssm_a")
    if (both := source.own(layer, "ssm_ba")) is not None:
        made = reshape(linear(both, value), 2 * heads // sizes.groups, sizes.groups, each, seqs)
        half = (heads // sizes.groups, *made.ne[1:])
        beta = like("unary", cont(view(made, half, made.nb)))
        decay = cont(view(made, half, made.nb), heads, each, seqs)
    else:
        beta = reshape(linear(source.need(layer, "ssm_beta"), value), 1, heads, each, seqs)
        beta = like("unary", beta)
        decay = reshape(linear(source.need(layer, "ssm_alpha"), value), heads, each, seqs)
    if bias is not None:
        decay = like("add", decay, bias)
    decay = like("mul", like("unary", decay), slope)
    return reshape(beta, 1, heads, each, seqs), reshape(decay, 1, heads, each, seqs)


def _convolution_input(source: Source, layer: int, value: Node, sizes: Recurrence) -> Node:
    """What the convolution reads: the last tokens of before, and the batch's; the last ones are kept."""
    seqs = source.batch.sequences
    table, state = _state(source, layer, sizes.convolution_row)
    state = reshape(state, sizes.kernel - 1, value.ne[0], seqs)
    joined = concat(state, transpose(value))
    for _ in range(min(_snapshots(source), value.ne[1])):
        last = view(joined, state.ne, joined.nb)
        target = view(table, shape(sizes.convolution_row, seqs), table.nb)
        source.graph.expand(store("cpy", target, last))
    return joined


def _convolved(source: Source, layer: int, joined: Node, each: int) -> Node:
    kernel = source.need(layer, "ssm_conv1d")
    made = make("ssm_conv", shape(joined.ne[1], each, joined.ne[2]), joined, kernel)
    if (bias := source.own(layer, "ssm_conv1d.bias")) is not None:
        made = like("add", made, bias)
    return like("unary", made)


def _unit(value: Node) -> Node:
    return like("scale", norm(value))


def _repeated(value: Node, times: int) -> Node:
    """Each head as often as there are value heads for it."""
    width, heads, each, seqs = value.ne
    apart = reshape(value, width, 1, heads, each * seqs)
    many = make("repeat", (width, times, heads, each * seqs), apart)
    return reshape(many, width, heads * times, each, seqs)


def _mamba2(source: Source, layer: int, value: Node) -> Node:
    sizes, batch, graph = _dimensions(source), source.batch, source.graph
    each, seqs, heads = batch.tokens // batch.sequences, batch.sequences, sizes.rank
    width, channels = sizes.inner // heads, sizes.inner + 2 * sizes.groups * sizes.state
    table, old = _state(source, layer, sizes.convolution_row)
    old = reshape(old, sizes.kernel - 1, channels, seqs)
    made = linear(source.need(layer, "ssm_in"), value)
    made = reshape(made, made.ne[0], each, seqs)
    row, plane = made.nb[1], made.nb[2]
    gate = view(made, (width, heads, each, seqs), (4, 4 * width, row, plane))
    mixed = view(made, shape(channels, each, seqs), (4, row, plane, plane * seqs))
    step = view(made, shape(heads, each, seqs), (4, row, plane, plane * seqs))
    joined = concat(old, transpose(mixed))
    for _ in range(min(_snapshots(source), each)):
        target = view(table, shape(sizes.convolution_row, seqs), table.nb)
        graph.expand(store("cpy", target, view(joined, old.ne, joined.nb)))
    mixed = _convolved(source, layer, joined, each)
    inner = view(mixed, (width, heads, each, seqs), (4, 4 * width, *mixed.nb[1:3]))
    shared = view(mixed, (sizes.state, sizes.groups, each, seqs), (4, 4 * sizes.state, *mixed.nb[1:3]))
    step = like("add", cont(step), source.need(layer, "ssm_dt.bias"))
    found = _scan(source, layer, inner, step, (shared, view(mixed, shared.ne, shared.nb)))
    found = view(found, (width, heads, each, seqs))
    found = like("add", found, like("mul", inner, source.need(layer, "ssm_d")))
    found = make("glu", found.ne, cont(gate), found)
    if (weight := source.own(layer, "ssm_norm")) is not None:
        found = norm(reshape(found, sizes.inner // sizes.groups, sizes.groups, each, seqs), weight)
    return linear(source.need(layer, "ssm_out"), reshape(found, sizes.inner, batch.tokens))


def _scan(source: Source, layer: int, inner: Node, step: Node, shared: tuple[Node, Node]) -> Node:
    """The scan over the tokens; its result holds the outputs and the new states."""
    sizes, graph, seqs = _dimensions(source), source.graph, source.batch.sequences
    table = source.held(layer, F32, sizes.state_row, source.setting.state_rows(source.model))
    states = reshape(table, sizes.state_row, table.ne[1])
    graph.expand(_cleared(states))
    ids = source.state_rows()
    snapshots = _snapshots(source)
    values = inner.values + snapshots * sizes.state_row * seqs
    picked = view(ids, shape(seqs), ids.nb)
    found = make("ssm_scan", shape(values), reshape(states, *states.ne), inner, step,
                 source.need(layer, "ssm_a"), *shared, picked)  # fmt: skip
    graph.expand(found)
    _keep_others(source, states, scanned=True)
    _save(source, table, view(found, shape(sizes.state_row, seqs, min(inner.ne[2], snapshots)), found.nb))
    return found


def _mamba(source: Source, layer: int, value: Node) -> Node:
    sizes, batch = _dimensions(source), source.batch
    each, seqs, inner = batch.tokens // batch.sequences, batch.sequences, sizes.inner
    table, old = _state(source, layer, sizes.convolution_row)
    old = reshape(old, sizes.kernel - 1, inner, seqs)
    value = reshape(value, value.ne[0], each, seqs)
    made = linear(source.need(layer, "ssm_in"), value)
    row, plane = made.nb[1], made.nb[2]
    mixed = view(made, shape(inner, each, seqs), (4, row, plane, plane * seqs))
    gate = view(made, mixed.ne, mixed.nb)
    joined = concat(old, transpose(mixed))
    last = view(joined, old.ne, joined.nb)
    source.graph.expand(store("cpy", view(table, shape(sizes.convolution_row, seqs), table.nb), last))
    mixed = _convolved(source, layer, joined, each)
    small = linear(source.need(layer, "ssm_x"), mixed)
    steps = (4, small.nb[1], small.nb[2], small.nb[2] * seqs)
    step = view(small, shape(sizes.rank, each, seqs), steps)
    shared = [
        view(small, (sizes.state, 1, each, seqs), (4, 4 * sizes.state, *small.nb[1:3])) for _ in range(2)
    ]
    if (weight := source.own(layer, "ssm_dt_norm")) is not None:
        step = norm(step, weight)
        shared = [
            norm(one, source.own(layer, f"ssm_{side}_norm")) for one, side in zip(shared, "bc", strict=True)
        ]
    else:
        step = cont(step)
    step = linear(source.need(layer, "ssm_dt"), step, source.own(layer, "ssm_dt.bias"))
    found = _scan(source, layer, reshape(mixed, 1, inner, each, seqs), step, (shared[0], shared[1]))
    found = view(found, shape(inner, each, seqs))
    found = like("add", found, like("mul", mixed, source.need(layer, "ssm_d")))
    found = make("glu", found.ne, cont(gate), found)
    out = linear(source.need(layer, "ssm_out"), found)
    return reshape(out, out.ne[0], batch.tokens)
