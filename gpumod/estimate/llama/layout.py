"""Which layer is on which card.

llama.cpp's `llama_model_base::load_tensors` (the split points), and `common/arg.cpp` (`--n-cpu-moe`, `-ot`).
"""

from __future__ import annotations

import re
import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final

from gpumod.core.footprint import Spread
from gpumod.estimate.llama.model import LlamaModel
from gpumod.estimate.llama.placement import HOST, Placement
from gpumod.estimate.llama.setting import LlamaSetting

_EXPERTS: Final = r"\.ffn_(up|down|gate|gate_up)_(ch|)exps"
_NUMBERED: Final = re.compile(r"CUDA([0-9]{1,4})")


def offloaded(model: LlamaModel, setting: LlamaSetting) -> int:
    """How many units are on cards: the last layers, and first of all the output."""
    return max(0, min(setting.gpu_layers, len(model.layers) + 1))


def place(model: LlamaModel, setting: LlamaSetting, counts: Sequence[int] = ()) -> Placement:
    """Where layers and tensors are.

    Args:
        model: the model.
        setting: the launch.
        counts: units per card, in order; empty: by the written ratio, else evenly by number.
    """
    total = len(model.layers) + 1
    on_cards = offloaded(model, setting)
    if setting.on_host:
        devices = [0] * total
        counts = (total,)
    else:
        counts = tuple(counts) or split_counts(setting, on_cards)
        devices = [HOST] * (total - on_cards)
        for card, count in enumerate(counts):
            devices += [card] * count
    return Placement(tuple(devices[:-1]), devices[-1], tuple(counts), tuple(_moved(model, setting)))


def split_counts(setting: LlamaSetting, units: int) -> tuple[int, ...]:
    """Units per card as llama.cpp divides them: all on the first, by the ratio, or evenly."""
    cards = setting.cards
    if setting.split_mode == "none" or cards == 1:
        return (units, *(0,) * (cards - 1))
    ratio = setting.ratio if len(setting.ratio) == cards and sum(setting.ratio) > 0 else (1.0,) * cards
    ends = list(accumulate(map(_single, ratio), lambda a, b: _single(a + b)))
    points = [_single(end / ends[-1]) for end in ends]
    found = [0] * cards
    for unit in range(units):
        found[min(bisect_right(points, _single(unit / units)), cards - 1)] += 1
    return tuple(found)


def even_counts(spread: Spread) -> tuple[int, ...]:
    """Units per card so that the fullest card has as little as can be."""
    low = max(*spread.fixed, -(-sum((*spread.layers, *spread.fixed)) // len(spread.fixed)))
    high = sum(spread.layers) + max(spread.fixed)
    best = _filled(spread, high)
    while low < high:
        middle = (low + high) // 2
        if counts := _filled(spread, middle):
            high, best = middle, counts
        else:
            low = middle + 1
    return best


def _filled(spread: Spread, capacity: int) -> tuple[int, ...]:
    """Units per card when each takes what it can hold, in order; empty where some are left over."""
    counts: list[int] = []
    for fixed in spread.fixed:
        sizes = accumulate(spread.layers[sum(counts) :], initial=fixed)
        counts.append(sum(1 for size in sizes if size <= capacity) - 1)
    return tuple(counts) if sum(counts) == len(spread.layers) else ()


def _single(value: float) -> float:
    """Rounded to single precision, in which llama.cpp reckons the split points."""
    rounded: float = struct.unpack("f", struct.pack("f", value))[0]
    return rounded


def _moved(model: LlamaModel, setting: LlamaSetting) -> Iterator[tuple[str, int]]:
    """Tensors that are not with their layer; the first rule that matches a name wins."""
    rules = list(_rules(setting))
    if rules:
        for tensor in model.tensors:
            device = next((where for pattern, where in rules if pattern.search(tensor.name)), None)
            if device is not None:
                yield tensor.name, device


def _rules(setting: LlamaSetting) -> Iterator[tuple[re.Pattern[str], int]]:
    host = 0 if setting.on_host else HOST
    if setting.cpu_moe_layers:
        # Names have the number right after `blk.`: one pattern for all layers below the limit.
        numbers = "|".join(str(number) for number in range(min(setting.cpu_moe_layers, 1024)))
        yield re.compile(rf"blk\.({numbers}){_EXPERTS}"), host
    for override in setting.overrides:
        device = host if override.buffer == "CPU" or override.buffer.endswith("_Host") else None
        if numbered := _NUMBERED.fullmatch(override.buffer):
            card = int(numbered[1])
            device = card if card < setting.cards and not setting.on_host else None
        pattern = _compiled(override.pattern)
        if device is not None and pattern is not None:
            yield pattern, device


def _compiled(pattern: str) -> re.Pattern[str] | None:
    try:
        return re.compile(pattern)
    except re.error:
        return None
