"""The graph of a whole model, from the tokens to the logits.

Which parts a layer has follows from its weights, as in llama.cpp's `src/models/*.cpp`; where an architecture
differs in a way that its weights do not show, its name decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gpumod.estimate.llama.graph.attention import attention
from gpumod.estimate.llama.graph.feedforward import dense, experts, feed_forward
from gpumod.estimate.llama.graph.node import (
    I32,
    I64,
    Node,
    cont,
    like,
    linear,
    make,
    matmul,
    norm,
    part,
    permute,
    reshape,
    rows,
    shape,
    store,
    transpose,
    view,
)  # fmt: skip
from gpumod.estimate.llama.graph.recurrent import recurrent
from gpumod.estimate.llama.graph.source import Source, mixes_inputs

_ROWS_LAST_BEFORE: Final = frozenset({
    "bailingmoe3", "cohere2moe", "gemma4", "gpt-oss", "hy-v3", "nemotron_h", "nemotron_h_moe", "qwen35",
    "qwen35moe", "qwen3next", "step35",
})  # fmt: skip
"""Builds before `MIXED_FROM` compute their last layer for all tokens and pick those with outputs then."""
_ROWS_BEFORE_NORM: Final = frozenset({"cohere2moe", "gpt-oss", "step35"})
"""Of those, the ones that pick before the last norm."""
_LAYER_INPUT_FIRST: Final = frozenset({"qwen35", "qwen35moe", "qwen3next"})
"""They finish the norm before they look at what kind of layer it is."""
_SCALED: Final = frozenset({
    "gemma", "gemma2", "gemma3", "gemma3n", "gemma4", "gemma-embedding", "grok", "minicpm", "minicpm3",
})  # fmt: skip
"""They scale the embeddings."""
_POOLINGS: Final = {1: "mean", 2: "cls", 3: "last", 4: "rank"}
"""`enum llama_pooling_type`."""


def decoder(source: Source, chosen: Sequence[int] | None = None) -> None:
    """Fill a graph with the model's trunk.

    Args:
        source: whose graph.
        chosen: the layers to compute; None for all.

    Raises:
        KeyError: a weight that the layers cannot do without is missing.
    """
    graph, model = source.graph, source.model
    indices = range(len(model.trunk)) if chosen is None else chosen
    own = _own_rows(source)
    value = _embeddings(source)
    whole = value.of or value
    extra = _per_layer_inputs(source, own, value)
    for index in indices:
        last = index == indices[-1]
        value = block(source, index, value, pick=last and not _picks_late(source))
        value = _extended(source, index, value, extra)
        if index < model.embedding_in // model.embedding - 1:
            # What a picture brings for this layer, out of the widened embeddings.
            value = like("add", value, part(whole, model.embedding, source.batch.tokens, nb=(whole.nb[1],)))
    late = _picks_late(source)
    if late and model.architecture in _ROWS_BEFORE_NORM:
        value.output = True
        value = rows(value, source.wanted)
    value = _output_norm(source, value)
    value.output = True
    if late and model.architecture not in _ROWS_BEFORE_NORM:
        value = rows(value, source.wanted)
        value.output = True
    hidden = value
    matrix = source.output_matrix() if source.model.architecture not in _WITHOUT_LOGITS else None
    if matrix is not None:
        value = matmul(matrix, value)
        value.output = True
    graph.expand(value)
    if source.setting.embeddings:
        graph.expand(_pooled(source, hidden))


_WITHOUT_LOGITS: Final = frozenset({
    "bert", "eurobert", "gemma-embedding", "jina-bert-v2", "jina-bert-v3", "llama-embed", "modern-bert",
    "neo-bert", "nomic-bert", "nomic-bert-moe", "t5encoder",
})  # fmt: skip


def _picks_late(source: Source) -> bool:
    """Whether the tokens with outputs are picked after the last layer; a draft wants all tokens' states."""
    draft = source.setting.draft
    drafts = draft is not None and draft.type == "draft-mtp" and source.model.nextn > 0
    return drafts or (source.model.architecture in _ROWS_LAST_BEFORE and not mixes_inputs(source.setting))


def _embeddings(source: Source) -> Node:
    graph, model, count = source.graph, source.model, source.batch.tokens
    mixes = mixes_inputs(source.setting)
    value = rows(source.embedding_matrix(), source.input(count, kind=I32))
    if model.embedding_in != model.embedding:
        value = make("pad", shape(model.embedding_in, count), value)
    graph.expand(value)
    graph.expand(source.input(model.embedding_in, count))
    if mixes:
        graph.expand(_mixed_inputs(source))
    if model.embedding_in != model.embedding:
        value = part(value, model.embedding, count, nb=(value.nb[1],))
    scale = source.model.header.value("embedding_scale")
    if model.architecture in _SCALED or scale:
        # Tokens are scaled, what a projector made of a picture is not.
        value = like("mul", value, source.input(1, count)) if mixes else like("scale", value)
    graph.expand(value)
    types = source.weight("token_types.weight", source.home(source.placement.output))
    if types is not None:
        value = like("add", value, view(types, (model.embedding, 1, 1, 1)))
    if (places := source.weight("position_embd.weight", source.home(-1))) is not None:
        value = like("add", value, rows(places, source.positions))
    if (weight := source.weight("token_embd_norm.weight", source.home(-1))) is not None:
        value = norm(value, weight, source.weight("token_embd_norm.bias", source.home(-1)), layer=True)
    return value


def _mixed_inputs(source: Source) -> Node:
    """Rows of tokens put between those of a picture: in every graph, computed only where needed."""
    count = source.batch.tokens
    picked = rows(source.embedding_matrix(), source.input(count, kind=I32))
    both = like("dup", source.input(source.model.embedding, count))
    return store("set_rows", both, picked, source.input(count, kind=I64))


def _output_norm(source: Source, value: Node) -> Node:
    home = source.home(source.placement.output)
    weight = source.weight("output_norm.weight", home) or source.weight("token_embd_norm.weight", home)
    if weight is None or source.model.architecture in {
        "bert",
        "nomic-bert",
        "nomic-bert-moe",
        "jina-bert-v2",
    }:
        return value
    return norm(value, weight, source.weight("output_norm.bias", home), layer=_is_layer_norm(source))


def _is_layer_norm(source: Source) -> bool:
    return source.model.header.value("attention.layer_norm_epsilon") is not None


def _normed(source: Source, layer: int, name: str, value: Node) -> Node:
    """A layer's norm of that name, if it has one."""
    weight = source.own(layer, name)
    if weight is None:
        return value
    return norm(value, weight, source.own(layer, f"{name}.bias"), layer=_is_layer_norm(source))


def block(source: Source, layer: int, value: Node, *, pick: bool) -> Node:
    """One block: what mixes tokens, and the feed-forward part; `pick`: only tokens with outputs go on."""
    residual = value
    inner = _normed(source, layer, "attn_norm", value)
    if source.model.architecture in _LAYER_INPUT_FIRST:
        source.graph.expand(inner)
    made = _mixed(source, layer, inner)
    if pick:
        made, residual = rows(made, source.wanted), rows(residual, source.wanted)
        inner = rows(inner, source.wanted) if _is_parallel(source, layer) else inner
    if (not source.has(layer, "ffn_down") and not source.has(layer, "ffn_down_exps")) or _is_alone(
        source, layer
    ):
        return like("add", made, residual)
    if _is_parallel(source, layer):
        return like("add", like("add", feed_forward(source, layer, inner), residual), made)
    first = source.own(layer, "attn_norm") is not None
    between = source.own(layer, "ffn_norm") is not None
    if between or not first:
        made = _normed(source, layer, "post_attention_norm", made)
    middle = like("add", made, residual)
    middle = _normed(source, layer, "attn_output_norm", middle)
    value = middle
    if between:
        value = _normed(source, layer, "ffn_norm", middle)
    elif first:
        value = _normed(source, layer, "post_attention_norm", middle)
    made = _expanded(source, layer, middle, value)
    made = _normed(source, layer, "post_ffw_norm", made)
    return _normed(source, layer, "layer_output_norm", like("add", made, middle))


def _mixed(source: Source, layer: int, value: Node) -> Node:
    """What mixes tokens: attention, a recurrence, or both; a layer may have neither."""
    one = source.model.layers[layer]
    if not one.recurrent:
        return (
            feed_forward(source, layer, value)
            if _is_alone(source, layer)
            else attention(source, layer, value)
        )
    if one.attends and source.has(layer, "attn_q"):
        attended = attention(source, layer, value)
        return like("add", recurrent(source, layer, value), attended)
    return recurrent(source, layer, value)


def _is_alone(source: Source, layer: int) -> bool:
    """Whether the feed-forward part is all that a layer has."""
    one = source.model.layers[layer]
    return not one.attends and not one.recurrent


def _is_parallel(source: Source, layer: int) -> bool:
    """Whether attention and feed-forward read the same norm and are added up."""
    names = ("ffn_norm", "post_attention_norm", "attn_output_norm", "post_ffw_norm")
    return not any(source.has(layer, name) for name in names) and source.has(layer, "ffn_down")


def _expanded(source: Source, layer: int, middle: Node, value: Node) -> Node:
    """The feed-forward part; gemma4's layers with experts have both kinds side by side."""
    if not source.has(layer, "pre_ffw_norm_2"):
        return feed_forward(source, layer, value)
    plain = _normed(source, layer, "post_ffw_norm_1", dense(source, layer, value, ""))
    routed = _normed(source, layer, "pre_ffw_norm_2", middle)
    scores = like("scale", norm(middle))
    if (weight := source.own(layer, "ffn_gate_inp.scale")) is not None:
        scores = like("mul", scores, weight)
    routed = experts(source, layer, routed, scores=linear(source.need(layer, "ffn_gate_inp"), scores))
    return like("add", plain, _normed(source, layer, "post_ffw_norm_2", routed))


def _own_rows(source: Source) -> Node | None:
    """Each token's embeddings for the layers one by one (gemma4)."""
    table = source.weight("per_layer_token_embd.weight", source.home(-1))
    if table is None or source.model.architecture != "gemma4":
        return None
    found = rows(table, source.input(source.batch.tokens, kind=I32))
    if mixes_inputs(source.setting):
        source.graph.expand(found)
    return found


def _per_layer_inputs(source: Source, own: Node | None, value: Node) -> Node | None:
    """The same with what the layers' input adds; it stays until the last layer."""
    host = source.home(-1)
    project = source.weight("per_layer_model_proj.weight", host)
    if own is None or project is None:
        return None
    count, tokens = len(source.model.trunk), source.batch.tokens
    width = own.ne[0] // count
    made = reshape(like("scale", matmul(project, value)), width, count, tokens)
    made = norm(made, source.weight("per_layer_proj_norm.weight", host))
    added = like("add", made, like("scale", reshape(own, width, count, tokens)))
    return cont(permute(like("scale", added), 0, 2, 1, 3))


def _extended(source: Source, layer: int, value: Node, extra: Node | None) -> Node:
    if extra is not None and (gate := source.own(layer, "inp_gate")) is not None:
        before = value
        own = view(extra, (extra.ne[0], extra.ne[1], 1, 1), extra.nb)
        made = like("mul", like("unary", matmul(gate, value)), own)
        made = matmul(source.need(layer, "proj"), made)
        value = like("add", before, norm(made, source.own(layer, "post_norm")))
    if (scale := source.own(layer, "layer_output_scale")) is not None:
        value = like("mul", value, scale)
    return value


def _pooled(source: Source, value: Node) -> Node:
    """One vector per sequence (`build_pooling`)."""
    said = source.model.header.value("pooling_type")
    kind = source.setting.pooling or _POOLINGS.get(said if isinstance(said, int) else 0, "none")
    if kind == "none":
        return value
    sequences = source.batch.sequences
    if kind == "mean":
        shares = source.input(value.ne[1], sequences)
        made = make("mul_mat", (value.ne[0], sequences, 1, 1), cont(transpose(value)), shares)
    else:
        made = rows(value, source.input(sequences, kind=I32))
    if kind == "rank":
        home = source.home(source.placement.output)
        if (head := source.weight("cls.weight", home)) is not None:
            made = like("unary", linear(head, made, source.weight("cls.bias", home)))
        if (out := source.weight("cls.output.weight", home)) is not None:
            made = linear(out, made, source.weight("cls.output.bias", home))
    made.output = True
    return made
