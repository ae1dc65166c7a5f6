"""What a graph is built from: weights and caches where they are, and the inputs of one batch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from gpumod.estimate.gguf.types import GGML_TYPES, TYPE_NUMBERS, GgmlType
from gpumod.estimate.llama.graph.node import F16, F32, I32, I64, Graph, Node, shape
from gpumod.estimate.llama.model import LlamaModel
from gpumod.estimate.llama.placement import HOST, Placement
from gpumod.estimate.llama.setting import LlamaSetting

MIXED_FROM: Final = 11549
"""The first build known to put tokens and embeddings into one batch; that of 2026-10-01 does not yet."""
_NUMBER: Final = re.compile(r"\d{4}\.\d{1,2}\.(\d+)|^b?(\d+)")


def mixes_inputs(setting: LlamaSetting) -> bool:
    """Whether a build's graphs take tokens and embeddings in one batch; unknown builds are assumed to."""
    match = _NUMBER.search(setting.build.version) if setting.build is not None else None
    return match is None or int(match[1] or match[2]) >= MIXED_FROM


@dataclass(frozen=True, slots=True)
class Batch:
    """The batch that room is reserved for.

    Args:
        tokens: of all sequences.
        sequences: how many; each has the same share of the tokens.
        outputs: tokens whose logits are wanted.
    """

    tokens: int
    sequences: int
    outputs: int


def largest_batch(model: LlamaModel, setting: LlamaSetting) -> Batch:
    """The batch of `llama_context::sched_reserve`, its tokens rounded up to a multiple of the slots."""
    most = min(setting.context, setting.ubatch) if model.causal else setting.ubatch
    tokens = -(-most // setting.slots) * setting.slots
    return Batch(tokens, setting.slots, max(1, min(most, setting.outputs)))


@dataclass(frozen=True, slots=True)
class Window:
    """The inputs that belong to one of the two caches.

    Args:
        cells: that one stream can see.
        mask: who sees whom.
        keys: where new keys go.
        values: where new values go.
        rotations: matrices that turn keys and values before they are quantised; None where they are not.
    """

    cells: int
    mask: Node
    keys: Node
    values: Node
    rotations: tuple[Node | None, Node | None]


class Source:
    """Weights, caches and inputs of one graph.

    Args:
        model: the model.
        setting: its launch.
        placement: where its layers are.
        batch: what it computes.
    """

    def __init__(self, model: LlamaModel, setting: LlamaSetting, placement: Placement, batch: Batch) -> None:
        self.model = model
        self.setting = setting
        self.placement = placement
        self.batch = batch
        self.graph = Graph()
        self.on_gpu = not setting.on_host
        self._host = 0 if setting.on_host else setting.cards
        self._moved = dict(placement.moved)
        self._weights: dict[str, Node] = {}
        self._windows: dict[bool, Window] = {}
        self._rows: Node | None = None
        self.positions = self.input(batch.tokens * model.positions, kind=I32)
        self.wanted = self.input(batch.outputs, kind=I32)

    def input(self, *ne: int, kind: GgmlType = F32) -> Node:
        """A tensor that is filled before each batch."""
        node = Node("none", kind, shape(*ne))
        node.input = True
        return node

    def home(self, device: int) -> int:
        """A device's number among the backends."""
        return self._host if device == HOST else device

    def device(self, layer: int) -> int:
        """The backend of a layer."""
        return self.home(self.placement.layers[layer])

    def weight(self, name: str, home: int) -> Node | None:
        """A weight by its whole name, None where the model has none."""
        if name not in self._weights:
            tensor = self.model.header.by_name.get(name)
            if tensor is None:
                return None
            moved = self._moved.get(name)
            self._weights[name] = Node(
                "none", GGML_TYPES[tensor.type], shape(*tensor.shape), held=True, weight=True,
                home=home if moved is None else self.home(moved),
            )  # fmt: skip
        return self._weights[name]

    def own(self, layer: int, name: str) -> Node | None:
        """A layer's weight by the part of its name after `blk.N.`; `.weight` is understood."""
        whole = f"blk.{layer}.{name}"
        home = self.device(layer)
        return self.weight(f"{whole}.weight", home) or self.weight(whole, home)

    def has(self, layer: int, name: str) -> bool:
        """Whether a layer has a weight."""
        names = self.model.header.by_name
        return f"blk.{layer}.{name}.weight" in names or f"blk.{layer}.{name}" in names

    def need(self, layer: int, name: str) -> Node:
        """A layer's weight that its operations cannot do without.

        Raises:
            KeyError: the model has none.
        """
        found = self.own(layer, name)
        if found is None:
            raise KeyError(f"blk.{layer}.{name}")
        return found

    def embedding_matrix(self) -> Node:
        """The token embeddings, which stay on the host.

        Raises:
            KeyError: the model has none.
        """
        found = self.weight("token_embd.weight", self._host)
        if found is None:
            raise KeyError("token_embd.weight")
        return found

    def output_matrix(self) -> Node | None:
        """The matrix that makes logits; models that share it with the input have a second copy of it."""
        home = self.home(self.placement.output)
        found = self.weight("output.weight", home)
        if found is not None or "token_embd.weight" not in self.model.header.by_name:
            return found
        shared = self.embedding_matrix()
        return Node("none", shared.type, shared.ne, held=True, weight=True, home=home)

    def held(self, layer: int, kind: GgmlType, *ne: int) -> Node:
        """A layer's cache or state, in a buffer of its own."""
        home = self.device(layer) if self.setting.kv_offload else self._host
        return Node("none", kind, shape(*ne), held=True, home=home)

    def key_type(self) -> GgmlType:
        """The type of cached keys."""
        return GGML_TYPES[TYPE_NUMBERS[self.setting.key_type]]

    def value_type(self) -> GgmlType:
        """The type of cached values."""
        return GGML_TYPES[TYPE_NUMBERS[self.setting.value_type]]

    def mask_type(self) -> GgmlType:
        """Flash attention wants its mask in half precision."""
        return F16 if self.setting.flash_attention else F32

    def window(self, *, sliding: bool) -> Window:
        """The inputs of the cache of full layers, or of sliding ones."""
        if sliding not in self._windows:
            self._windows[sliding] = self._make_window(sliding=sliding)
        return self._windows[sliding]

    def _make_window(self, *, sliding: bool) -> Window:
        setting, tokens, streams = self.setting, self.batch.tokens, self.batch.sequences
        cells = setting.window_cells(self.model) if sliding else setting.cells
        widest = max((layer.value_width for layer in self.model.layers), default=0)
        values = tokens if setting.flash_attention else tokens * widest
        return Window(
            cells,
            self.input(cells, tokens // streams, 1, streams, kind=self.mask_type()),
            self.input(tokens, kind=I64),
            self.input(values, kind=I64),
            self._rotations(sliding=sliding),
        )

    def _rotations(self, *, sliding: bool) -> tuple[Node | None, Node | None]:
        """Hadamard matrices for quantised caches (`build_input_k_rot`, `build_input_v_rot`)."""
        layers = [layer for layer in self.model.trunk if layer.own_kv and layer.sliding == sliding]
        if self.model.mla is not None or not layers:
            return None, None
        key = layers[0].key if len({layer.key for layer in layers}) == 1 else 0
        value = layers[0].value if len({layer.value for layer in layers}) == 1 else 0
        turn_keys = self.key_type().block > 1 and key and key % 64 == 0
        turn_values = self.value_type().block > 1 and value and value % 64 == 0
        side = 64
        while key and key % (side * 2) == 0:
            side *= 2
        return (self.input(side, side) if turn_keys else None, self.input(64, 64) if turn_values else None)

    def state_rows(self) -> Node:
        """Which row of the recurrent states each sequence has."""
        if self._rows is None:
            self._rows = self.input(self.batch.sequences, kind=I32)
        return self._rows
