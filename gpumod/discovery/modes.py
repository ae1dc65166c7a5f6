"""The first mode: one model to talk to, and what fits beside it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from gpumod.core.footprint import Footprint
from gpumod.core.names import CardId
from gpumod.core.spec import ServiceSpec, Task
from gpumod.discovery.box import Box
from gpumod.discovery.sizing import LITTLE

_TALKING = (Task.CHAT, Task.COMPLETION)
_BESIDE = (Task.EMBEDDING, Task.RERANK)


@dataclass(frozen=True, slots=True)
class Member:
    """A preset that could be in the mode; `size` is bytes of the model's files."""

    spec: ServiceSpec
    footprint: Footprint
    size: int


def first_mode(members: Iterable[Member], box: Box) -> tuple[Member, ...]:
    """The largest model that runs on the cards alone, then one of each other task that still fits.

    Size stands for quality; a model with experts on the host or with hardly any context comes after others.
    """
    found = list(members)
    room = {card.card: card.free for card in box.rooms}
    host = box.host
    chosen: list[Member] = []
    talking = sorted((one for one in found if one.spec.task in _TALKING), key=_rank, reverse=True)
    others = [
        sorted((one for one in found if one.spec.task is task), key=lambda one: one.size) for task in _BESIDE
    ]
    for candidates in (talking, *others):
        for one in candidates:
            cards = _placed(one, box, room)
            if cards is None or one.footprint.resident + one.footprint.loading > host:
                continue
            for card, size in cards:
                room[card] -= size
            host -= one.footprint.resident
            chosen.append(one)
            break
    return tuple(chosen)


def mode_id(taken: Collection[str]) -> str:
    """An id for the mode that nobody has."""
    names = ("main", *(f"main-{number}" for number in range(2, 100)))
    return next(name for name in names if name not in taken)


def _rank(one: Member) -> tuple[bool, bool, bool, int, str]:
    context = one.spec.context or 0
    return (
        one.spec.llama.cpu_moe_layers is None,
        context >= LITTLE,
        one.spec.task is Task.CHAT,
        one.size,
        str(one.spec.id),
    )


def _placed(one: Member, box: Box, room: dict[CardId, int]) -> list[tuple[CardId, int]] | None:
    """Cards with room for it, with what it takes on each; None where there are none."""
    needs = sorted(one.footprint.cards, reverse=True)
    for model in box.models:
        cards = sorted((card.card for card in box.of_model(model)), key=lambda card: -room[card])
        pairs = list(zip(cards, needs, strict=False))
        if len(pairs) == len(needs) and all(room[card] >= need for card, need in pairs):
            return [(card, need) for card, need in pairs]
    return None
