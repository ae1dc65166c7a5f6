"""Which backend computes what, and what is copied between them.

The rules of `ggml_backend_sched_split_graph` (`ggml-backend.cpp`): an operation runs where its weight
is; the others follow their neighbours, GPUs first; large batches take weights from the host to the first GPU;
a tensor that another backend needs is copied there. With pipeline parallelism every copy exists four times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from gpumod.estimate.llama.graph.allocate import Backend, Step, buffer_sizes
from gpumod.estimate.llama.graph.node import VIEWS, Graph, Node

PIPELINE_COPIES: Final = 4
"""`GGML_SCHED_MAX_COPIES`."""
_OFFLOAD_FROM: Final = 32
"""Tokens from which on a GPU fetches weights from the host (`op_offload_min_batch_size` of ggml-cuda)."""
_WITHOUT_PLACE: Final = frozenset({"rope", "flash_attn"})
"""Their weights are too small to decide where they run."""


def reserve(
    graph: Graph, backends: Sequence[Backend], *, pipeline: bool = False, offload: bool = True
) -> tuple[int, ...]:
    """Bytes of the compute buffer of each backend.

    Args:
        graph: with the home of each weight and cache set; it is used up.
        backends: the cards in order, and the host last.
        pipeline: pipeline parallelism is on.
        offload: cards compute large batches of layers on the host.
    """
    copies = PIPELINE_COPIES if pipeline else 1
    return buffer_sizes(backends, *_Scheduler(graph, backends, copies, offload=offload).run())


class _Scheduler:
    def __init__(self, graph: Graph, backends: Sequence[Backend], copies: int, *, offload: bool) -> None:
        self._graph = graph
        self._backends = backends
        self._host = len(backends) - 1
        self._copies = copies
        self._offload = offload
        self._copied: dict[tuple[Node, int], tuple[Node, ...]] = {}
        self._made: list[Step] = []

    def run(self) -> tuple[list[Step], list[Step]]:
        """The leaves and the steps in the order in which they get their place."""
        if self._host:
            self._settle()
        else:
            for node in (*self._graph.leaves, *self._graph.nodes):
                node.home = 0
        steps = self._split()
        leaves = [Step(leaf, leaf.home) for leaf in self._graph.leaves if not leaf.held]
        if self._copies > 1:
            leaves = [*self._input_copies(), *self._made, *leaves]
        return leaves, steps

    def _settle(self) -> None:
        """Give each tensor a backend."""
        for leaf in self._graph.leaves:
            if leaf.home < 0 and leaf.input:
                leaf.home = self._host
        for node in self._graph.nodes:
            if node.home < 0:
                node.home = self._by_what_it_reads(node)
        computed = [node for node in self._graph.nodes if node.op not in VIEWS]
        cards = self._is_card
        _spread(computed, cards)
        _spread(reversed(computed), cards)
        _spread(computed, _anywhere)
        _spread(reversed(computed), _anywhere)
        for node in self._graph.nodes:
            if node.home < 0 and node.of is not None:
                node.home = node.of.home
            for source in node.sources:
                if source.home < 0:
                    source.home = node.home if source.of is None else source.of.home

    def _is_card(self, home: int) -> bool:
        return home != self._host

    def _by_what_it_reads(self, node: Node) -> int:
        if node.of is not None and node.of.held:
            return node.of.home
        if node.op in _WITHOUT_PLACE:
            return -1
        weight = next((source for source in node.sources if source.weight), None)
        if weight is None:
            return -1
        if self._offload and weight.home == self._host and _batch(node) >= _OFFLOAD_FROM:
            return 0
        return weight.home

    def _reaches(self, node: Node, backend: int) -> bool:
        """Whether a backend can read a tensor where it is: no card reads the host, nor another card."""
        home = node.of.home if node.of is not None and node.of.held else node.home
        return home == backend

    def _split(self) -> list[Step]:
        """The operations, each group on one backend led by the copies that it needs."""
        steps: list[Step] = []
        group: list[Node] = []
        inputs: list[Node] = []
        current = next((node.home for node in self._graph.nodes if node.op not in VIEWS), 0)
        waiting = self._waiting()
        for node in self._graph.nodes:
            if node.op not in VIEWS:
                fetches = node.home == current and inputs and any(
                    source.weight and not self._reaches(source, current) for source in node.sources
                )  # fmt: skip
                if node.home != current or fetches:
                    self._close(steps, inputs, group, current, waiting)
                    group, inputs, current = [], [], node.home
                node.sources = tuple(self._local(source, current, inputs) for source in node.sources)
            group.append(node)
        self._close(steps, inputs, group, current, waiting)
        return steps

    def _waiting(self) -> dict[Node, tuple[Node, ...]]:
        """By operation, what a card still needs when it runs."""
        found: dict[Node, tuple[Node, ...]] = {}
        for nodes, until, following in self._graph.kept:
            if following:
                index = self._graph.nodes.index(until) + 1
                until = self._graph.nodes[index]
            found[until] = found.get(until, ()) + nodes
        return found

    def _local(self, source: Node, backend: int, inputs: list[Node]) -> Node:
        """The source itself, or its copy on a backend."""
        if self._reaches(source, backend):
            return source
        copies = self._copied.get((source, backend))
        if copies is None:
            copies = tuple(self._copy(source, backend) for _ in range(self._copies))
            self._copied[source, backend] = copies
            inputs.append(source)
        return copies[0]

    def _copy(self, source: Node, backend: int) -> Node:
        copy = Node("none", source.type, source.ne, nb=source.nb, home=backend)
        if self._copies > 1:
            copy.input = copy.output = True
        return copy

    def _close(
        self,
        steps: list[Step],
        inputs: list[Node],
        group: list[Node],
        backend: int,
        waiting: dict[Node, tuple[Node, ...]],
    ) -> None:
        for source in inputs:
            original = Node("none", source.type, source.ne, (source,), of=source.of or source)
            steps.append(Step(original, source.home))
            copies = self._copied[source, backend]
            steps.append(Step(copies[0], backend))
            if self._copies > 1:
                self._made += [Step(copy, backend) for copy in copies]
        for node in group:
            steps.append(Step(node, node.home))
            needed = waiting.get(node)
            if needed and self._backends[backend].gpu:
                view = Node("none", node.type, node.ne, needed, of=needed[0].of or needed[0])
                steps.append(Step(view, backend))

    def _input_copies(self) -> list[Step]:
        """Four copies of each input where it is; the input itself is the first."""
        made = []
        for leaf in self._graph.leaves:
            if leaf.input:
                leaf.output = True
                made += [leaf, *(self._copy(leaf, leaf.home) for _ in range(self._copies - 1))]
        return [Step(node, node.home) for node in made]


def _spread(nodes: Iterable[Node], carries: Callable[[int], bool]) -> None:
    """Operations without a backend take that of the one before, if it is one that spreads."""
    current = -1
    for node in nodes:
        if node.home >= 0:
            current = node.home if carries(node.home) else -1
        elif current >= 0:
            node.home = current


def _anywhere(_home: int) -> bool:
    return True


def _batch(node: Node) -> int:
    """Tokens that an operation works on at once (`get_op_batch_size` of ggml-cuda)."""
    if node.op == "get_rows":
        return 0
    if node.op == "mul_mat":
        return node.ne[1]
    if node.op in {"mul_mat_id", "rope"}:
        return node.ne[2]
    return node.ne[1] * node.ne[2] * node.ne[3]
