"""The graph of a block for multi-token prediction, which drafts from the trunk's last state.

After `graph_mtp` in `src/models/qwen35.cpp`, `qwen3next.cpp` and `glm4-moe.cpp` of llama.cpp.
"""

from __future__ import annotations

from typing import Final

from gpumod.estimate.llama.graph.layers import block
from gpumod.estimate.llama.graph.node import I32, concat, matmul, norm, rows
from gpumod.estimate.llama.graph.source import Source

_PICKS_BEFORE_FEED_FORWARD: Final = frozenset({"qwen35moe", "qwen3next"})


def drafting(source: Source) -> None:
    """Fill a graph with the first of the blocks for multi-token prediction.

    Raises:
        KeyError: a weight that the block cannot do without is missing.
    """
    model, count = source.model, source.batch.tokens
    layer = len(model.trunk)
    table = source.weight(f"blk.{layer}.nextn.embed_tokens.weight", source.home(-1))
    tokens = rows(table or source.embedding_matrix(), source.input(count, kind=I32))
    before = norm(source.input(model.embedding, count), source.need(layer, "nextn.hnorm"))
    drafted = norm(tokens, source.need(layer, "nextn.enorm"))
    value = matmul(source.need(layer, "nextn.eh_proj"), concat(drafted, before))
    picks = model.architecture in _PICKS_BEFORE_FEED_FORWARD
    value = block(source, layer, value, pick=picks)
    home = source.home(source.placement.output)
    weight = source.own(layer, "nextn.shared_head_norm") or source.weight("output_norm.weight", home)
    value = norm(value, weight)
    value.output = True
    if not picks:
        value = rows(value, source.wanted)
    head = source.own(layer, "nextn.shared_head_head") or source.output_matrix()
    if head is not None:
        value = matmul(head, value)
        value.output = True
    source.graph.expand(value)
