"""What ran and on what, captured from the box and never typed."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpumod.bench.worker.targets import Aim
    from gpumod.core.cards import Card
    from gpumod.core.service import ServiceRecord
    from gpumod.core.switch import BoxStatus


def provenance_of(aim: Aim, status: BoxStatus) -> dict[str, object]:
    """Engines, argv, files, cards, driver and host of a target, as JSON values; sizes in bytes."""
    records = [record for record in status.services if record.id in aim.services]
    cards = {card for record in records for card in record.cards}
    return {
        "gpumod": status.version,
        "asked": aim.service,
        "services": [_service(record) for record in sorted(records, key=lambda one: one.id)],
        "cards": [_card(card) for card in status.reading.cards if card.id in cards],
        "driver": status.reading.driver_version,
        "host": {
            "system": platform.platform(),
            "memory": status.reading.host.total,
            "load": list(os.getloadavg()),
            "cpus": os.cpu_count(),
        },
    }


def _service(record: ServiceRecord) -> dict[str, object]:
    spec, launch = record.spec, record.launch
    return {
        "id": record.id,
        "preset": spec.preset,
        "engine": spec.engine.value,
        "build": launch.build if launch else "",
        "argv": list(launch.argv) if launch else [],
        "fingerprint": launch.fingerprint if launch else "",
        "files": [
            {"path": file.path, "size": file.size, "modified_ns": file.modified_ns}
            for file in (launch.files if launch else ())
        ],
        "cards": list(record.cards),
        "context": spec.context,
        "slots": spec.slots,
        "kv_cache": {"k": spec.kv_cache.k, "v": spec.kv_cache.v} if spec.kv_cache else None,
        "sampler": dict(spec.sampler),
    }


def _card(card: Card) -> dict[str, object]:
    return {
        "id": card.id,
        "name": card.name,
        "total": card.total,
        "compute_capability": list(card.compute_capability) if card.compute_capability else None,
        "power_watts": card.power_watts,
        "temperature": card.temperature,
    }
