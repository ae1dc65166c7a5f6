"""Asks a running engine: is it ready, does it serve our model, does it answer a request."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Final, Protocol

from gpumod.core.ports import ProbeAnswer, Readiness
from gpumod.core.spec import Task
from gpumod.engines import http
from gpumod.engines.metrics import total

_REQUESTS: Final[dict[Task, tuple[str, dict[str, object]]]] = {
    Task.CHAT: ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}),
    Task.COMPLETION: ("/v1/completions", {"prompt": "Hi", "max_tokens": 1}),
    Task.EMBEDDING: ("/v1/embeddings", {"input": "Hi"}),
    Task.RERANK: ("/v1/rerank", {"query": "Hi", "documents": ["Hi"]}),
}
"""The smallest request of each kind."""


class ListenerProbe(Protocol):
    """What engines need of the port `HostProbe`."""

    async def listens(self, port: int, pids: Collection[int]) -> bool | None:
        """Whether one of the pids holds the listener; None where it may not be seen."""
        ...


async def readiness(
    port: int, name: str | None, timeout: float, *, health: str = "/health", loading: Collection[int] = (503,)
) -> ProbeAnswer:
    """Whether the engine on that port is ready and serves our model.

    Args:
        port: where it listens on loopback.
        name: the model that `/v1/models` must name; None asks only for health.
        timeout: seconds for everything.
        health: the path that answers 200 once it is ready.
        loading: statuses of that path which mean that it is still loading.
    """
    try:
        async with asyncio.timeout(timeout):
            answer = await http.get(port, health, timeout)
            if answer.status in loading:
                return ProbeAnswer(Readiness.LOADING, answer.complaint)
            if answer.status != 200:
                return ProbeAnswer(Readiness.ERROR, f"GET {health} answers {answer.complaint}")
            if name is None:
                return ProbeAnswer(Readiness.READY)
            return _serves(
                name, answer if health == "/v1/models" else await http.get(port, "/v1/models", timeout)
            )
    except http.ClosedError as error:
        return ProbeAnswer(Readiness.CLOSED, str(error))
    except http.EngineHttpError as error:
        return ProbeAnswer(Readiness.ERROR, str(error))
    except TimeoutError:
        return ProbeAnswer(Readiness.ERROR, f"no answer within {timeout:g} s")


def _serves(name: str, answer: http.Answer) -> ProbeAnswer:
    if answer.status != 200:
        return ProbeAnswer(Readiness.ERROR, f"GET /v1/models answers {answer.complaint}")
    served = model_names(answer.json())
    if name in served:
        return ProbeAnswer(Readiness.READY)
    return ProbeAnswer(
        Readiness.WRONG_MODEL, f"it serves {', '.join(sorted(served)) or 'nothing'}, not {name}"
    )


def model_names(document: object) -> frozenset[str]:
    """Ids and aliases in the answer of `/v1/models`; empty where it is none."""
    models = document.get("data") if isinstance(document, dict) else None
    names: set[str] = set()
    for model in models if isinstance(models, list) else ():
        if isinstance(model, dict):
            aliases = model.get("aliases")
            names.update(map(str, aliases if isinstance(aliases, list) else ()))
            names.add(str(model.get("id")))
    return frozenset(names)


async def warm_up(port: int, name: str, task: Task, timeout: float) -> str:
    """Send one small request of the task's kind; empty when it was answered, else why not."""
    if task is Task.NONE:
        return ""
    path, request = _REQUESTS[task]
    try:
        answer = await http.post(port, path, {"model": name, **request}, timeout)
    except http.EngineHttpError as error:
        return f"the warm-up request to {path} failed: {error}"
    return (
        "" if answer.status == 200 else f"the warm-up request to {path} was answered with {answer.complaint}"
    )


async def requests_in_metrics(port: int, names: Collection[str], timeout: float) -> int | None:
    """The sum of gauges in `/metrics`; None when there is no answer or no such gauge."""
    try:
        answer = await http.get(port, "/metrics", timeout)
    except http.EngineHttpError:
        return None
    count = total(answer.text, names) if answer.status == 200 else None
    return None if count is None else round(count)
