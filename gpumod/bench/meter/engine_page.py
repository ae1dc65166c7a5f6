"""What an engine tells of itself beside its answers."""

from __future__ import annotations

from typing import Final

from gpumod.bench.meter.exchange import place
from gpumod.core.job_ports import Endpoint
from gpumod.engines.http import EngineHttpError, get

_PATIENCE: Final = 2.0


async def engine_page(endpoint: Endpoint, path: str) -> str:
    """The text at a path of an engine's server, such as `/metrics`; empty where it has none to give now."""
    try:
        answer = await get(place(endpoint.url)[1], path, _PATIENCE)
    except (EngineHttpError, ValueError):
        return ""
    return answer.text if answer.status == 200 else ""
