"""Which service a model's name means, in the files. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from gpumod.core.names import ModeId
from gpumod.core.spec import Catalog, Mode, RequestShape, ServiceSpec

DEFAULT: Final = "default"
"""The route of requests that name no model."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A service that a mode would have, and that answers to a name."""

    mode: ModeId
    spec: ServiceSpec


def offers(catalog: Catalog, model: str) -> tuple[Offer, ...]:
    """Everything that answers to a name, mode by mode; within one: by id, by route, then by alias."""
    return tuple(Offer(mode.id, spec) for mode in catalog.modes for spec in answering(mode, model))


def answering(mode: Mode, model: str) -> tuple[ServiceSpec, ...]:
    """The services of a mode that answer to a name.

    A request without one is for the route `default`, or for the only service there is.
    """
    name = model or DEFAULT
    routed = dict(mode.routes).get(name)
    found = [spec for spec in mode.services if name in {spec.id, spec.name}]
    found += [spec for spec in mode.services if spec.id == routed]
    found += [spec for spec in mode.services if name in spec.aliases]
    if not found and not model and len(mode.services) == 1:
        found = list(mode.services)
    return tuple(dict.fromkeys(found))


def names(mode: Mode) -> Iterator[tuple[str, ServiceSpec]]:
    """Every name in a mode with what answers to it first; a name comes once."""
    given = [name for spec in mode.services for name in (str(spec.id), spec.name)]
    given += [name for name, _ in mode.routes]
    given += [name for spec in mode.services for name in spec.aliases]
    for name in dict.fromkeys(given):
        yield name, answering(mode, name)[0]


def shape_of(mode: Mode | None, spec: ServiceSpec, model: str) -> RequestShape:
    """What is changed in a request by that name: the route's changes come before the service's."""
    routed = dict(mode.shapes).get(model or DEFAULT) if mode is not None else None
    own = spec.requests
    if routed is None or dict(mode.routes if mode else ()).get(model or DEFAULT) != spec.id:
        return own
    return RequestShape(
        defaults=_over(own.defaults, routed.defaults),
        set=_over(own.set, routed.set),
        strip=tuple(dict.fromkeys((*own.strip, *routed.strip))),
        template=_over(own.template, routed.template),
    )


def _over(
    under: tuple[tuple[str, str], ...], upper: tuple[tuple[str, str], ...]
) -> tuple[tuple[str, str], ...]:
    return tuple({**dict(under), **dict(upper)}.items())
