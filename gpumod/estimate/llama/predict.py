"""A launch of llama.cpp, all parts together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from gpumod.core.cards import CardModel
from gpumod.core.footprint import Part, Spread
from gpumod.estimate.gguf.header import GgufHeader
from gpumod.estimate.llama.cache import kv_cache, kv_units
from gpumod.estimate.llama.compute import compute_buffers, output_buffer
from gpumod.estimate.llama.draft import draft_parts, draft_setting
from gpumod.estimate.llama.host import host_parts, loading
from gpumod.estimate.llama.layout import even_counts, offloaded, place
from gpumod.estimate.llama.model import LlamaModel
from gpumod.estimate.llama.overhead import Overhead, context_overhead, graphs_and_pools, usual_overhead
from gpumod.estimate.llama.placement import Devices, Placement
from gpumod.estimate.llama.projector import projector_part
from gpumod.estimate.llama.recurrent import recurrent_state, state_units
from gpumod.estimate.llama.setting import LlamaSetting
from gpumod.estimate.llama.weights import weight_units, weights
from gpumod.estimate.prediction import Prediction


def predict(
    model: LlamaModel,
    setting: LlamaSetting,
    card: CardModel,
    *,
    draft: LlamaModel | None = None,
    projector: GgufHeader | None = None,
    overhead: Overhead | None = None,
) -> Prediction:
    """What a launch takes on each card and on the host.

    Args:
        model: the model.
        setting: the launch.
        card: the cards' model; the host's memory as a card has `HOST_MODEL`.
        draft: the draft's own model, where it has a file of its own.
        projector: the header of the projector's file.
        overhead: what CUDA takes besides the buffers, as launches showed; None takes what is usual.

    Raises:
        ModelFileError: a file lacks what llama.cpp needs.
    """
    known = overhead or usual_overhead(card)
    ask = partial(_parts, model, setting, card, draft, projector, known)
    spread: Spread | None = None
    if chooses_split(setting):
        placement, parts, spread = _most_even(model, setting, draft, ask)
    else:
        placement = place(model, setting)
        parts = ask(placement)
    layered = setting.cards > 1 and setting.split_mode == "layer"
    return Prediction(
        parts=parts,
        loading=loading(model, setting),
        spread=spread,
        split=placement.counts if layered else (),
        notes=tuple(_notes(model, setting)),
    )


def chooses_split(setting: LlamaSetting) -> bool:
    """Whether the cards' shares are ours to choose."""
    return setting.cards > 1 and setting.split_mode == "layer" and not setting.ratio


def _most_even(
    model: LlamaModel,
    setting: LlamaSetting,
    draft: LlamaModel | None,
    ask: Callable[[Placement], tuple[Part, ...]],
) -> tuple[Placement, tuple[Part, ...], Spread]:
    """The placement that fills the fullest card least, its parts, and how the layers could be divided.

    What comes on top of the layers depends a little on who has which, so it is asked for twice.
    """
    units = _units(model, setting, place(model, setting))
    if draft is not None and setting.draft is not None:
        units = _with_draft(units, draft, draft_setting(setting))
    placement = place(model, setting, even_counts(Spread(units, (0,) * setting.cards)))
    parts = ask(placement)
    spread = _spread(units, parts, placement)
    counts = even_counts(spread)
    if counts != placement.counts:
        placement = place(model, setting, counts)
        parts = ask(placement)
        spread = _spread(units, parts, placement)
    return placement, parts, spread


def _units(model: LlamaModel, setting: LlamaSetting, placement: Placement) -> tuple[int, ...]:
    """Bytes that follow each layer on a card, the output last, without the layers that stay on the host."""
    layers = zip(kv_units(model, setting), state_units(model, setting), strict=True)
    caches = (*(sum(both) for both in layers), 0)
    units = [sum(both) for both in zip(weight_units(model, setting, placement), caches, strict=True)]
    return tuple(units[len(units) - offloaded(model, setting) :])


def _with_draft(units: tuple[int, ...], draft: LlamaModel, own: LlamaSetting) -> tuple[int, ...]:
    """The same with each unit of the draft at the unit of the model that it always shares a card with.

    Both are divided at the same fractions of their units, so unit j of m goes with unit floor(j n / m) of n.
    """
    both = list(units)
    followers = _units(draft, own, place(draft, own))
    for index, size in enumerate(followers if both else ()):
        both[index * len(both) // len(followers)] += size
    return tuple(both)


def _spread(units: Sequence[int], parts: Sequence[Part], placement: Placement) -> Spread:
    bare = Spread(tuple(units), (0,) * len(placement.counts)).cards(placement.counts)
    totals = (sum(part.cards[card] for part in parts) for card in range(len(placement.counts)))
    return Spread(tuple(units), tuple(total - own for total, own in zip(totals, bare, strict=True)))


def _parts(
    model: LlamaModel,
    setting: LlamaSetting,
    card: CardModel,
    draft: LlamaModel | None,
    projector: GgufHeader | None,
    overhead: Overhead,
    placement: Placement,
) -> tuple[Part, ...]:
    """All parts of a launch."""
    found = [
        _part("weights", _by_mode(setting, weights(model, setting, placement))),
        _part("KV cache", _by_mode(setting, kv_cache(model, setting, placement)), _cells(model, setting)),
        _part("recurrent state", _by_mode(setting, recurrent_state(model, setting, placement))),
        _part("compute buffer", compute_buffers(model, setting, placement)),
        _part("output buffer", output_buffer(model, setting)),
        *draft_parts(model, setting, placement, card, overhead, draft=draft),
        _part("CUDA context", context_overhead(setting, overhead)),
        _part("CUDA graphs and pools", graphs_and_pools(model, setting, placement, card, overhead)),
        *host_parts(model, setting),
    ]
    if projector is not None:
        found.append(projector_part(projector, model, setting, card, overhead))
    return tuple(_merged(part for part in found if any(part.cards) or part.host))


def _merged(parts: Iterable[Part]) -> Iterator[Part]:
    """One part of each name: a draft's graphs are counted with the model's."""
    named: dict[str, Part] = {}
    for part in parts:
        former = named.get(part.name)
        if former is not None:
            cards = tuple(a + b for a, b in zip(former.cards, part.cards, strict=True))
            part = replace(former, cards=cards, host=former.host + part.host)
        named[part.name] = part
    yield from named.values()


def _part(name: str, devices: Devices, note: str = "") -> Part:
    return Part(name, devices.cards, host=devices.host, note=note)


def _by_mode(setting: LlamaSetting, devices: Devices) -> Devices:
    """With matrices divided over the cards, each has about the same of everything."""
    if setting.split_mode not in {"row", "tensor"}:
        return devices
    share = -(-sum(devices.cards) // setting.cards)
    return Devices((share,) * setting.cards, devices.host)


def _cells(model: LlamaModel, setting: LlamaSetting) -> str:
    kinds = (
        setting.key_type
        if setting.key_type == setting.value_type
        else f"{setting.key_type}, {setting.value_type}"
    )
    note = f"{setting.slots} × {setting.cells:,} cells, {kinds}"
    if model.sliding and not setting.full_window:
        note += f"; sliding layers {setting.slots} × {setting.window_cells(model):,}"
    return note


def _notes(model: LlamaModel, setting: LlamaSetting) -> Iterator[str]:
    if model.unknown:
        yield model.unknown
    if setting.split_mode in {"row", "tensor"} and setting.cards > 1:
        yield f"split.mode {setting.split_mode} is reckoned roughly: the cards' shares are taken for equal"
    yield from setting.notes
