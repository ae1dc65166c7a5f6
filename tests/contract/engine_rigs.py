"""The fake engine and the real adapters, each with a server that it can ask."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from gpumod.core.bounds import DEFAULT_BOUNDS, Bounds
from gpumod.core.names import HOST_CARD, ServiceId
from gpumod.core.ports import Engine, EngineBuild, Readiness
from gpumod.core.service import Launch
from gpumod.core.spec import CommandOptions, ContainerOptions, EngineKind, ServiceSpec
from gpumod.engines import engines
from gpumod.testing.engine import FakeEngine
from gpumod.testing.engine_server import Script, command_of
from gpumod.testing.ports import free_port
from tests.engines.processes import Listeners, spec_of

BUILD = EngineBuild("/usr/bin/engine", "1.0", frozenset({"--device", "--load-mode"}))


@dataclass
class Rig:
    """One adapter. `serve` makes a server stand behind a launch, or nothing when there is no script."""

    engine: Engine
    spec: ServiceSpec
    serve: Callable[[Launch, Script | None], None]

    def compose(self, spec: ServiceSpec | None = None, *, port: int | None = None, **more) -> Launch:
        """A launch, by a build that need not exist."""
        keys: dict[str, Any] = {
            "cards": (HOST_CARD,),
            "card_indexes": {},
            "files": (),
            "generation": 1,
        } | more
        return self.engine.compose(spec or self.spec, BUILD, port=port or free_port(), **keys)

    async def until(self, launch: Launch, wanted: Readiness) -> None:
        """Probe until the answer is the wanted one."""
        async with asyncio.timeout(60):
            while True:
                answer = await self.engine.probe(self.spec, launch)
                if answer.readiness is wanted:
                    return
                await asyncio.sleep(0.01)


def _script_fake(engine: FakeEngine, service: ServiceId, script: Script | None) -> None:
    behaviour = engine.of(service)
    if script is None:
        behaviour.then(Readiness.CLOSED)
        behaviour.warm_up_problem = "nothing listens"
        behaviour.requests([None])
        return
    name = "chat"
    loading = Readiness.LOADING if script.while_loading == "503" else Readiness.CLOSED
    behaviour.then(*([loading] if script.never_ready else []))
    if not script.never_ready:
        behaviour.then(Readiness.READY if script.name == name else Readiness.WRONG_MODEL)
    if script.hung:
        behaviour.then(Readiness.ERROR)
    behaviour.warm_up_problem = f"{script.fail_requests}" if script.fail_requests else ""
    behaviour.requests([script.running + script.waiting])


def make(kind: str, start, bounds: Bounds = DEFAULT_BOUNDS) -> Rig:
    """The rig of an adapter; `start` starts processes."""
    if kind == "fake":
        fake = FakeEngine()
        spec = spec_of(EngineKind.COMMAND, model="/models/m.gguf")
        return Rig(fake, spec, lambda _, script: _script_fake(fake, spec.id, script))
    family = EngineKind(kind)
    spec = spec_of(family, model="/models/m.gguf")
    if family is EngineKind.COMMAND:
        spec = replace(
            spec, command=CommandOptions(("server", "--port", "${PORT}"), in_flight="/load#running")
        )
    elif family is EngineKind.CONTAINER:
        spec = replace(spec, container=ContainerOptions("image:1"))

    def serve(launch: Launch, script: Script | None) -> None:
        if script is not None:
            metrics = "vllm" if family is EngineKind.VLLM else "llama"
            start(command_of(replace(script, port=launch.port, metrics=metrics)))

    return Rig(engines(Listeners(), bounds=bounds)[family], spec, serve)


KINDS = ("fake", "llama.cpp", "vllm", "command", "container")
