"""Where requests by a name go now, worked out once for as long as nothing changes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from gpumod.core.names import ServiceId
from gpumod.core.ports import Admission
from gpumod.core.spec import Catalog, RequestShape, ServiceSpec
from gpumod.gateway.demand import candidates
from gpumod.gateway.naming import shape_of

_log = logging.getLogger(__name__)
_MOST = 4096
"""Names that are kept; a catalog has far fewer."""

EngineKey = Callable[[ServiceSpec], bytes]
"""The key that an engine itself asks for; empty where it has none."""


@dataclass(frozen=True, slots=True)
class Target:
    """A service that admits now, and what a request by that name has to become for it."""

    service: ServiceId
    port: int
    generation: int
    served: str
    shape: RequestShape
    headers: tuple[tuple[bytes, bytes], ...] = field(repr=False)  # the key stands there


def read_engine_key(spec: ServiceSpec) -> bytes:
    """The key in the preset's file, without line break; empty where there is none, or it cannot be read."""
    if spec.upstream_key is None:
        return b""
    try:
        return Path(spec.upstream_key).read_bytes().strip()
    except OSError as error:
        _log.warning("the key of %s, %s, cannot be read: %s", spec.id, spec.upstream_key, error.strerror)
        return b""


class Targets:
    """Resolves names to services that admit.

    Args:
        admission: the gates; whoever owns this calls `forget` when their answers change.
        catalog: the files.
        usable: whether a service that admits is to be trusted.
        engine_key: see `EngineKey`.
    """

    def __init__(
        self,
        admission: Admission,
        catalog: Callable[[], Catalog],
        usable: Callable[[ServiceId], bool],
        engine_key: EngineKey = read_engine_key,
    ) -> None:
        self._admission = admission
        self._catalog = catalog
        self._usable = usable
        self._engine_key = engine_key
        self._known: dict[str, Target] = {}
        self._keys: dict[tuple[ServiceId, int], bytes] = {}

    def forget(self) -> None:
        """Answers may have changed."""
        self._known.clear()

    def of(self, model: str) -> Target | None:
        """Where a request by that name goes; None where nothing admits it now."""
        known = self._known.get(model)
        return known if known is not None else self._find(model)

    def _find(self, model: str) -> Target | None:
        catalog = self._catalog()
        for service in candidates(self._admission, catalog, model):
            if self._admission.admits(service) and self._usable(service):
                target = self._at(service, model, catalog)
                if target is not None:
                    if len(self._known) < _MOST:
                        self._known[model] = target
                    return target
        return None

    def _at(self, service: ServiceId, model: str, catalog: Catalog) -> Target | None:
        spec, port = self._admission.spec(service), self._admission.port(service)
        generation = self._admission.generation(service)
        if spec is None or port is None or generation is None:
            return None
        attempt = (service, generation)
        if attempt not in self._keys:
            self._keys = {one: key for one, key in self._keys.items() if one[0] != service}
            self._keys[attempt] = self._engine_key(spec)
        key = self._keys[attempt]
        return Target(
            service=service,
            port=port,
            generation=generation,
            served=spec.name,
            shape=shape_of(catalog.mode(self._admission.mode()), spec, model),
            headers=((b"authorization", b"Bearer " + key),) if key else (),
        )
