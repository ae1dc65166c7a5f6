"""What a job measures: a target's name as a state of the box, and where its model answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpumod.core.errors import InvalidRequestError, NotFoundError
from gpumod.core.job_ports import Endpoint
from gpumod.core.names import BLANK, ModeId, PresetId, ServiceId
from gpumod.core.service import Desired
from gpumod.core.spec import Task
from gpumod.core.states import ServiceState

if TYPE_CHECKING:
    from gpumod.core.service import ServiceRecord
    from gpumod.core.spec import Catalog, Mode, ServiceSpec
    from gpumod.core.switch import BoxStatus

_TEXT = frozenset({Task.CHAT, Task.COMPLETION})


@dataclass(frozen=True, slots=True)
class Aim:
    """What the box has to be for one target.

    Args:
        target: the preset or mode.
        desired: a mode, or blank with the preset alone.
        service: whom the suite talks to.
        services: all that run for it.
    """

    target: str
    desired: Desired
    service: ServiceId
    services: frozenset[ServiceId]


def aim_of(catalog: Catalog, target: str) -> Aim:
    """What the box has to be for a target. Of a mode, its default route is asked, else its first text model.

    Raises:
        NotFoundError: neither a preset nor a mode.
        InvalidRequestError: it is disabled, or nothing in it generates text.
    """
    if reason := dict(catalog.disabled).get(target):
        raise InvalidRequestError(f"{target} is disabled: {reason}", {"target": target})
    if mode := catalog.mode(ModeId(target)):
        names = frozenset(spec.id for spec in mode.services)
        return Aim(target, Desired(mode.id), _asked(mode), names)
    preset = catalog.preset(PresetId(target))
    if preset is None:
        raise NotFoundError(
            f"{target} is neither a mode nor a preset; `gpumodctl mode list` shows what there is",
            {"target": target},
        )
    if preset.task not in _TEXT:
        raise _mute(target)
    return Aim(target, Desired(BLANK, added=(preset,)), preset.id, frozenset({preset.id}))


def endpoint_of(aim: Aim, record: ServiceRecord) -> Endpoint:
    """Where a target's model answers.

    Raises:
        InvalidRequestError: it was never launched.
    """
    if record.launch is None:
        raise InvalidRequestError(f"{record.id} was never launched")
    spec = record.spec
    return Endpoint(
        target=aim.target,
        url=f"http://127.0.0.1:{record.launch.port}",
        model=spec.name,
        engine=spec.engine.value,
        context=spec.context,
        slots=spec.slots,
        files=tuple(file.path for file in record.launch.files),
        cards=tuple(record.cards),
    )


def ready_record(aim: Aim, status: BoxStatus) -> ServiceRecord | None:
    """The record of the service that is asked, where everything of the target is ready; else None."""
    here = {record.id: record for record in status.services if record.id in aim.services}
    up = [record for record in here.values() if record.state is ServiceState.READY and record.admitting]
    return here[aim.service] if len(up) == len(aim.services) else None


def _asked(mode: Mode) -> ServiceId:
    texts = [spec for spec in mode.services if spec.task in _TEXT]
    routed = dict(mode.routes).get("default")
    chosen = next((spec for spec in texts if spec.id == routed), None) or _first(texts)
    if chosen is None:
        raise _mute(mode.id)
    return chosen.id


def _first(specs: list[ServiceSpec]) -> ServiceSpec | None:
    return specs[0] if specs else None


def _mute(target: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"nothing in {target} generates text: there is nothing to ask", {"target": target}
    )
