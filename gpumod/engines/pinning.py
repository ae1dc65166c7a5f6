"""Which cards a process of an engine sees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from gpumod.core.names import HOST_CARD, CardId
from gpumod.core.spec import ServiceSpec

_OURS: Final = frozenset(
    {"CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "NVIDIA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"}
)


def problems(spec: ServiceSpec) -> Iterator[str]:
    """Environment variables of the user that would move a service to other cards; sentences."""
    for key, _ in spec.env:
        if key in _OURS:
            yield f"env: `{key}` sets what gpumod decides, which is the key `cards`: set that"


def environment(
    base: Mapping[str, str], spec: ServiceSpec, pins: Mapping[str, str]
) -> tuple[tuple[str, str], ...]:
    """A launch's whole environment, sorted: the user's variables go before the base, the pins before all."""
    return tuple(sorted({**base, **dict(spec.env), **pins}.items()))


def visible_by_uuid(cards: tuple[CardId, ...]) -> dict[str, str]:
    """The environment that shows a CUDA program exactly these cards, in this order."""
    # Even on the host card: llama.cpp makes a CUDA context on every card that it can see.
    return _environment([] if cards == (HOST_CARD,) else [str(card) for card in cards])


def visible_by_index(cards: tuple[CardId, ...], indexes: Mapping[CardId, int]) -> dict[str, str]:
    """The same by PCI-ordered index, for programs that read the variable as numbers."""
    return _environment([] if cards == (HOST_CARD,) else [str(indexes[card]) for card in cards])


def _environment(names: list[str]) -> dict[str, str]:
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(names)}
