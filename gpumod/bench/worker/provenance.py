"""What ran and on what, captured from the box and never typed."""

from __future__ import annotations

import asyncio
import json
import os
import platform
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from gpumod.bench.redaction import argv as without_secrets
from gpumod.bench.worker.weights import weights_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gpumod.bench.worker.targets import Aim
    from gpumod.core.cards import Card
    from gpumod.core.job_ports import Endpoint
    from gpumod.core.service import ServiceRecord
    from gpumod.core.switch import BoxStatus


_KV_FLAGS: Final = {
    "-ctk": "k", "--cache-type-k": "k", "-ctv": "v", "--cache-type-v": "v", "--kv-cache-dtype": "kv",
}  # fmt: skip
"""llama.cpp's and vLLM's arguments that set the type of the KV cache."""
_READING: Final = 30.0


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
        "host": host_of(status),
    }


def host_of(status: BoxStatus) -> dict[str, object]:
    """The host and its load, with the kernel's version in `system`."""
    return {
        "system": platform.platform(),
        "memory": status.reading.host.total,
        "load": list(os.getloadavg()),
        "cpus": os.cpu_count(),
    }


def _service(record: ServiceRecord) -> dict[str, object]:
    spec, launch = record.spec, record.launch
    return {
        "id": record.id,
        "preset": spec.preset,
        "engine": spec.engine.value,
        "build": launch.build if launch else "",
        "argv": without_secrets(launch.argv) if launch else [],
        "fingerprint": launch.fingerprint if launch else "",
        "files": [
            {
                "path": file.path,
                "size": file.size,
                "modified_ns": file.modified_ns,
                "inode": file.inode,
            }
            for file in (launch.files if launch else ())
        ],
        "cards": list(record.cards),
        "context": spec.context,
        "slots": spec.slots,
        "kv_cache": _kv_cache(record),
        "sampler": dict(spec.sampler),
    }


def _card(card: Card) -> dict[str, object]:
    return {
        "id": card.id,
        "name": card.name,
        "total": card.total,
        "compute_capability": list(card.compute_capability) if card.compute_capability else None,
        "power_watts": card.power_watts,
        "power_limit_watts": card.power_limit_watts,
        "temperature": card.temperature,
    }


def _kv_cache(record: ServiceRecord) -> dict[str, str] | None:
    """The types of the cache: the preset's, else what the engine was told; None leaves it to the engine."""
    if record.spec.kv_cache is not None:
        return {"k": record.spec.kv_cache.k, "v": record.spec.kv_cache.v}
    words = [part for word in (record.launch.argv if record.launch else ()) for part in word.split("=", 1)]
    told = {_KV_FLAGS[flag]: value for flag, value in pairwise(words) if flag in _KV_FLAGS}
    return told or None


async def completed(services: object, asked: str, context: int | None) -> list[dict[str, object]]:
    """The services with what takes reading to know: of each model file which types its weights have.

    Args:
        services: as `provenance_of` has them.
        asked: the one that the suite talks to.
        context: of that one, as its server tells it.
    """
    found = _entries(services)
    for service in found:
        if service["id"] == asked and service["context"] is None:
            service["context"] = context
    try:
        async with asyncio.timeout(_READING):
            for service in found:
                service["files"] = [
                    file | await asyncio.to_thread(weights_of, str(file["path"]))
                    for file in _entries(service["files"])
                ]
    except TimeoutError:  # a disk that is slow; the engine has its own copy in memory
        return found
    return found


async def with_context(endpoint: Endpoint, page: Callable[[Endpoint, str], Awaitable[str]]) -> Endpoint:
    """The endpoint with the context that its server tells, in tokens, where the preset leaves it open."""
    if endpoint.context is not None:
        return endpoint
    settings = _json(await page(endpoint, "/props")).get("default_generation_settings")
    told = settings.get("n_ctx") if isinstance(settings, dict) else None
    if told is None:  # vLLM has no /props
        models = _entries(_json(await page(endpoint, "/v1/models")).get("data"))
        told = models[0].get("max_model_len") if models else None
    return replace(endpoint, context=told) if isinstance(told, int) and told > 0 else endpoint


def _entries(value: object) -> list[dict[str, object]]:
    return [dict(one) for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _json(text: str) -> dict[str, object]:
    try:
        document = json.loads(text)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
