"""How ggml lays the tensors of a graph out in one buffer per backend.

The rules of `ggml/src/ggml-alloc.c`: tensors that nothing needs any more give their place back, an operation
may write over its source, and a new tensor takes the smallest gap that it fits into, else the open end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gpumod.estimate.llama.graph.node import IN_PLACE, Node


@dataclass(frozen=True, slots=True)
class Backend:
    """Where tensors are computed.

    Args:
        gpu: a GPU, not the host's processor.
        alignment: bytes that each tensor's size is rounded up to: 128 for CUDA, 32 for the host
            (`ggml_backend_cuda_buffer_type_get_alignment`, `TENSOR_ALIGNMENT`).
    """

    gpu: bool
    alignment: int


@dataclass(frozen=True, slots=True)
class Step:
    """A tensor and the backend that has it."""

    node: Node
    backend: int


class Space:
    """One buffer's gaps, in order of address; the last one is open."""

    def __init__(self, alignment: int) -> None:
        self.alignment = alignment
        self.top = 0
        self._gaps: list[list[int]] = []
        """Begin and end of each gap below `_end`."""
        self._end = 0

    def padded(self, size: int) -> int:
        """Bytes that a tensor of so many takes."""
        return -(-size // self.alignment) * self.alignment

    def take(self, size: int) -> int:
        """The address of a new tensor."""
        best = None
        for gap in self._gaps:
            room = gap[1] - gap[0]
            if room >= size and (best is None or room <= best[1] - best[0]):
                best = gap
        if best is None:
            address = self._end
            self._end += size
            self.top = max(self.top, self._end)
            return address
        address = best[0]
        best[0] += size
        if best[0] == best[1]:
            self._gaps.remove(best)
        return address

    def give(self, address: int, size: int) -> None:
        """A tensor's place is free again."""
        if not size:
            return
        end = address + size
        if end == self._end:
            self._end = address
            if self._gaps and self._gaps[-1][1] == address:
                self._end = self._gaps.pop()[0]
            return
        index = 0
        while index < len(self._gaps) and self._gaps[index][0] < address:
            index += 1
        self._gaps.insert(index, [address, end])
        if index + 1 < len(self._gaps) and self._gaps[index + 1][0] == end:
            self._gaps[index][1] = self._gaps.pop(index + 1)[1]
        if index and self._gaps[index - 1][1] == address:
            self._gaps[index - 1][1] = self._gaps.pop(index)[1]


class _Use:
    """What is still to come of a tensor, and where it is."""

    __slots__ = ("address", "backend", "children", "own", "views")

    def __init__(self) -> None:
        self.children = 0
        self.views = 0
        self.backend = 0
        self.address = 0
        self.own = False


def buffer_sizes(
    backends: Sequence[Backend], leaves: Sequence[Step], steps: Sequence[Step]
) -> tuple[int, ...]:
    """Bytes of each backend's compute buffer.

    Args:
        backends: in the scheduler's order, the host last.
        leaves: inputs, and copies of them that stay.
        steps: operations in their order.
    """
    return _Layout(backends).run(leaves, steps)


class _Layout:
    def __init__(self, backends: Sequence[Backend]) -> None:
        self._gpu = [backend.gpu for backend in backends]
        self._spaces = [Space(backend.alignment) for backend in backends]
        self._uses: dict[Node, _Use] = {}

    def run(self, leaves: Sequence[Step], steps: Sequence[Step]) -> tuple[int, ...]:
        for leaf in leaves:
            self._place(leaf.node, leaf.backend)
        for step in steps:
            node = step.node
            if node.of is not None and node.op != "none":
                self._use(node.of).views += 1
            for source in node.sources:
                self._use(source).children += 1
                if source.input:
                    self._place(source, step.backend)
        for step in steps:
            for source in step.node.sources:
                self._place(source, step.backend)
            self._place(step.node, step.backend)
            for source in step.node.sources:
                self._release(source)
        return tuple(space.top for space in self._spaces)

    def _use(self, node: Node) -> _Use:
        use = self._uses.get(node)
        if use is None:
            use = self._uses[node] = _Use()
        return use

    def _bytes(self, node: Node, backend: int) -> int:
        extra = node.extra if self._gpu[backend] else 0
        return self._spaces[backend].padded(node.size + extra)

    def _place(self, node: Node, backend: int) -> None:
        if node.held or node.of is not None:
            return
        use = self._use(node)
        if use.own:
            return
        use.own = True
        if node.op in IN_PLACE and any(self._reuse(node, use, source) for source in node.sources):
            return
        use.backend = backend
        use.address = self._spaces[backend].take(self._bytes(node, backend))

    def _reuse(self, node: Node, use: _Use, source: Node) -> bool:
        """Whether the operation writes over this source."""
        source_use = self._use(source)
        # A view is never in a place of its own, so what it shows is left alone.
        if not source_use.own or source.output or not node.same_layout(source):
            return False
        if source_use.children != 1 or source_use.views:
            return False
        use.backend, use.address = source_use.backend, source_use.address
        source_use.own = False
        kept, had = self._bytes(node, use.backend), self._bytes(source, use.backend)
        self._spaces[use.backend].give(use.address + kept, had - kept)
        return True

    def _release(self, source: Node) -> None:
        use = self._use(source)
        use.children -= 1
        if use.children or use.views:
            return
        root = source
        if source.of is not None:
            root = source.of
            use = self._use(root)
            use.views -= 1
            if use.views or use.children:
                return
        if use.own and not root.output:
            self._spaces[use.backend].give(use.address, self._bytes(root, use.backend))
            use.own = False
