"""Tensors of a compute graph and the operations between them, sizes only.

Shapes follow ggml's operators (`ggml/src/ggml.c`): four dimensions, the row's length first.
"""

from __future__ import annotations

from math import prod
from typing import Final

from gpumod.estimate.gguf.types import GGML_TYPES, GgmlType

Shape = tuple[int, int, int, int]

F32: Final = GGML_TYPES[0]
F16: Final = GGML_TYPES[1]
I32: Final = GGML_TYPES[26]
I64: Final = GGML_TYPES[27]

VIEWS: Final = frozenset({"none", "reshape", "view", "permute", "transpose"})
"""Operations that compute nothing (`ggml_is_view_op`)."""
IN_PLACE: Final = frozenset({
    "add", "add_id", "sub", "mul", "div", "scale", "fill", "sqr", "sqrt", "unary", "rope", "rms_norm",
    "clamp", "soft_max",
})  # fmt: skip
"""Operations that may write over one of their sources (`ggml_op_can_inplace`)."""


class Node:
    """One tensor.

    Args:
        op: the operation that makes it; `none` for inputs, weights and caches.
        type: its values' type.
        ne: values per dimension.
        sources: what the operation reads.
        nb: bytes from one value to the next per dimension; None where it is contiguous.
        of: the tensor whose memory a view shows, never a view itself.
        held: it lies in a buffer of its own already: a weight or a cache.
        weight: it is a weight: operations run where it is.
        home: number of the backend that it is on; -1 where that is not settled.
    """

    __slots__ = (
        "extra",
        "held",
        "home",
        "input",
        "nb",
        "ne",
        "of",
        "op",
        "output",
        "sources",
        "type",
        "weight",
    )

    def __init__(
        self,
        op: str,
        type: GgmlType,  # noqa: A002 - ggml's own word
        ne: Shape,
        sources: tuple[Node, ...] = (),
        *,
        nb: Shape | None = None,
        of: Node | None = None,
        held: bool = False,
        weight: bool = False,
        home: int = -1,
    ) -> None:
        self.op = op
        self.type = type
        self.ne = ne
        self.sources = sources
        self.nb = nb or contiguous(type, ne)
        self.of = of
        self.held = held
        self.weight = weight
        self.home = home
        self.input = False
        self.output = False
        self.extra = 0
        """Bytes that one backend wants beside the tensor's own."""

    @property
    def size(self) -> int:
        """Bytes from its first to its last value (`ggml_nbytes`)."""
        if not all(self.ne):
            return 0
        if self.type.block == 1:
            first = self.type.size
            return first + sum((n - 1) * step for n, step in zip(self.ne, self.nb, strict=True))
        row = self.ne[0] * self.nb[0] // self.type.block
        return row + sum((n - 1) * step for n, step in zip(self.ne[1:], self.nb[1:], strict=True))

    @property
    def values(self) -> int:
        """How many values it has."""
        return prod(self.ne)

    def is_contiguous(self) -> bool:
        """Whether its values follow each other without gaps."""
        return self.nb == contiguous(self.type, self.ne)

    def same_layout(self, other: Node) -> bool:
        """Whether both have the same type, shape and steps (`ggml_are_same_layout`)."""
        return self.type == other.type and self.ne == other.ne and self.nb == other.nb


def contiguous(kind: GgmlType, ne: Shape) -> Shape:
    """Steps of a tensor without gaps."""
    row = kind.row_bytes(ne[0]) if kind.block > 1 else kind.size * ne[0]
    return kind.size, row, row * ne[1], row * ne[1] * ne[2]


def shape(*ne: int) -> Shape:
    """A shape filled up with ones."""
    a, b, c, d = (*ne, 1, 1, 1, 1)[:4]
    return a, b, c, d


def make(op: str, ne: Shape, *sources: Node, kind: GgmlType = F32) -> Node:
    """The result of an operation, in memory of its own."""
    return Node(op, kind, ne, sources)


def like(op: str, first: Node, *others: Node) -> Node:
    """The result of an operation that keeps its first source's shape."""
    return Node(op, first.type, first.ne, (first, *others))


def norm(value: Node, weight: Node | None = None, bias: Node | None = None, *, layer: bool = False) -> Node:
    """A normalised tensor, scaled and shifted where there is a weight and a bias (`build_norm`).

    With `layer` it is LayerNorm, which cannot be computed in place, else RMSNorm.
    """
    made = like("norm" if layer else "rms_norm", value)
    if weight is not None:
        made = like("mul", made, weight)
    return like("add", made, bias) if bias is not None else made


def matmul(weight: Node, value: Node) -> Node:
    """A product with a matrix (`ggml_mul_mat`)."""
    return make("mul_mat", (weight.ne[1], *value.ne[1:]), weight, value)


def linear(weight: Node, value: Node, bias: Node | None = None) -> Node:
    """A product with a matrix, and a bias where there is one."""
    made = matmul(weight, value)
    return like("add", made, bias) if bias is not None else made


def rows(table: Node, ids: Node) -> Node:
    """Rows picked out of a tensor (`ggml_get_rows`)."""
    kind = I32 if table.type == I32 else F32
    return make("get_rows", (table.ne[0], ids.ne[0], ids.ne[1], ids.ne[2]), table, ids, kind=kind)


def _root(node: Node) -> Node:
    return node.of or node


def view(source: Node, ne: Shape, nb: Shape | None = None) -> Node:
    """A part of a tensor; the steps beyond the given ones are as if it had no gaps."""
    return Node("view", source.type, ne, (source,), nb=nb, of=_root(source))


def part(source: Node, *ne: int, nb: tuple[int, ...] = ()) -> Node:
    """A part of a tensor whose steps after the first are given, the rest following (`ggml_view_3d`)."""
    full = shape(*ne)
    steps = [source.nb[0], *nb]
    while len(steps) < 4:
        steps.append(steps[-1] * full[len(steps) - 1])
    a, b, c, d = steps[:4]
    return view(source, full, (a, b, c, d))


def reshape(source: Node, *ne: int) -> Node:
    """The same values in another shape."""
    return Node("reshape", source.type, shape(*ne), (source,), of=_root(source))


def permute(source: Node, first: int, second: int, third: int, fourth: int) -> Node:
    """Dimension i of the source becomes dimension axes[i] of the result (`ggml_permute`)."""
    ne, nb = [1] * 4, [0] * 4
    for index, axis in enumerate((first, second, third, fourth)):
        ne[axis], nb[axis] = source.ne[index], source.nb[index]
    moved = Node("permute", source.type, (ne[0], ne[1], ne[2], ne[3]), (source,), of=_root(source))
    moved.nb = (nb[0], nb[1], nb[2], nb[3])
    return moved


def transpose(source: Node) -> Node:
    """The first two dimensions exchanged."""
    moved = permute(source, 1, 0, 2, 3)
    moved.op = "transpose"
    return moved


def cont(source: Node, *ne: int) -> Node:
    """A copy without gaps."""
    return make("cont", shape(*ne) if ne else source.ne, source, kind=source.type)


def cast(source: Node, kind: GgmlType) -> Node:
    """A copy in another type."""
    return make("cpy", source.ne, source, kind=kind)


def concat(first: Node, second: Node) -> Node:
    """Two tensors joined along their rows."""
    return make("concat", (first.ne[0] + second.ne[0], *first.ne[1:]), first, second)


def store(op: str, target: Node, *sources: Node) -> Node:
    """An operation that writes into a tensor that exists, such as a cache."""
    return Node(op, target.type, target.ne, (*sources, target), nb=target.nb, of=_root(target))


class Graph:
    """Operations in the order in which they run."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.leaves: list[Node] = []
        self.kept: list[tuple[tuple[Node, ...], Node, bool]] = []
        self._seen: set[Node] = set()

    def expand(self, node: Node) -> None:
        """Add a tensor after everything that it is made of (`ggml_build_forward_expand`)."""
        if node in self._seen:
            return
        self._seen.add(node)
        for source in node.sources:
            self.expand(source)
        (self.leaves if node.op == "none" else self.nodes).append(node)

    def keep(self, nodes: tuple[Node, ...], until: Node, *, following: bool = False) -> None:
        """A GPU that runs `until` still needs these tensors then (`ggml_backend_cuda_graph_optimize`).

        Args:
            nodes: what is needed.
            until: the operation that needs them.
            following: the operation after `until` counts instead.
        """
        self.kept.append((nodes, until, following))
