"""A typed HTTP client of gpumodd.

`Client` and `AsyncClient` take the daemon's address and a key, answer with the values of `gpumod.core`
and raise its errors. They are imported on first use: `client.fast` must start without HTTP libraries.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpumod.client.aio import AsyncClient
    from gpumod.client.calls import Cards, LogLine, Preflight
    from gpumod.client.job_calls import Job, ScheduledJob, Work
    from gpumod.client.sync import Client

__all__ = ["AsyncClient", "Cards", "Client", "Job", "LogLine", "Preflight", "ScheduledJob", "Work"]

_HOMES = {
    "AsyncClient": "aio",
    "Cards": "calls",
    "Client": "sync",
    "Job": "job_calls",
    "LogLine": "calls",
    "Preflight": "calls",
    "ScheduledJob": "job_calls",
    "Work": "job_calls",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"gpumod.client.{_HOMES[name]}"), name)
