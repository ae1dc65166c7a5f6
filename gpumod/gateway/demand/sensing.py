"""From the ports' answers to what the brain is shown. Reads from memory alone and changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from gpumod.core.names import ServiceId
from gpumod.core.ports import Admission
from gpumod.core.service import ServiceRecord
from gpumod.core.spec import Catalog
from gpumod.core.switch import SwitchRecord
from gpumod.gateway.demand.idle import Idled
from gpumod.gateway.demand.options import brought, stops
from gpumod.gateway.demand.values import Running, Sight, Standing
from gpumod.gateway.naming import DEFAULT, answering


def candidates(admission: Admission, catalog: Catalog, model: str) -> tuple[ServiceId, ...]:
    """Every service of the present that answers to a name; without one: the default, or the only one."""
    found = admission.candidates(model or DEFAULT)
    if found or model:
        return found
    mode = catalog.mode(admission.mode())
    return tuple(spec.id for spec in answering(mode, model)) if mode else ()


class Senses:
    """Looks at the box for the brain.

    Args:
        admission: the gates.
        usable: whether a service that admits is to be trusted: its engine did not just go away.
        recovering: whether the daemon is still bringing back what ran before it started.
    """

    def __init__(
        self,
        admission: Admission,
        usable: Callable[[ServiceId], bool],
        recovering: Callable[[], bool],
    ) -> None:
        self._admission = admission
        self._usable = usable
        self._recovering = recovering

    def sight(
        self,
        models: Iterable[str],
        catalog: Catalog,
        records: Iterable[ServiceRecord],
        switch: SwitchRecord | None,
        idled: Idled,
        inside: Mapping[ServiceId, Counter[int]],
    ) -> Sight:
        """The box as it is now, as far as those models are concerned."""
        known = {record.id: record for record in records}
        names = tuple(models)
        running = {record.id: record.spec for record in known.values() if record.state.may_hold_memory}
        busy = {service: max(+levels) for service, levels in inside.items() if +levels}
        under_way = (
            Running(switch.id, switch.request.phrase, brought(catalog, switch, names)) if switch else None
        )
        return Sight(
            mode=self._admission.mode(),
            switch=under_way,
            standing={model: self.standing(model, catalog, known, idled) for model in names},
            stops=stops(catalog, running),
            busy=busy,
        )

    def standing(
        self, model: str, catalog: Catalog, records: Mapping[ServiceId, ServiceRecord], idled: Idled
    ) -> Standing:
        """How a model stands now."""
        here = candidates(self._admission, catalog, model)
        admitting = [service for service in here if self._admission.admits(service)]
        usable = next((service for service in admitting if self._usable(service)), None)
        if usable is not None:
            return Standing(service=usable)
        expected = bool(admitting) or any(self._admission.expected(service) for service in here)
        present = any(self._admission.generation(service) is not None for service in here)
        mode = catalog.mode(self._admission.mode())
        members = [spec.id for spec in answering(mode, model)] if mode else []
        if expected or present or not members:
            return Standing(expected=expected, present=present)
        if self._recovering():
            return Standing(expected=True)
        revive = next((service for service in members if service in idled.services), None)
        if revive is not None:
            return Standing(revive=revive)
        record = records.get(members[0])
        return Standing(down=f"{members[0]} {record.state}: {record.reason}" if record else "it was stopped")
