"""Any OpenAI-compatible server that a command starts."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from gpumod.core.bounds import DEFAULT_BOUNDS, Bounds
from gpumod.core.names import CardId
from gpumod.core.ports import Check, EngineBuild, ProbeAnswer, Rung
from gpumod.core.service import ExitReport, FileIdentity, Launch
from gpumod.core.spec import CommandOptions, EngineKind, ServiceSpec, Task
from gpumod.core.states import ServiceState
from gpumod.engines import http, pinning, programs
from gpumod.engines.args import fingerprint
from gpumod.engines.ladders import ladder
from gpumod.engines.llama_cpp import not_built
from gpumod.engines.logs import explain
from gpumod.engines.metrics import total
from gpumod.engines.probing import ListenerProbe, readiness, warm_up

_PORT: Final = "${PORT}"


class CommandEngine:
    """The port `Engine` for a command."""

    kind = EngineKind.COMMAND
    exclusive_start = False

    def __init__(
        self,
        host: ListenerProbe,
        bounds: Bounds = DEFAULT_BOUNDS,
        base_env: Mapping[str, str] | None = None,
    ) -> None:
        self._host = host
        self._base_env = dict(base_env or {})
        self._bounds = bounds
        self._builds = programs.Builds(_describe)

    async def build(self, spec: ServiceSpec) -> EngineBuild | str:
        """The command's program; it is not asked anything, since nobody knows how."""
        options = spec.command
        if options is None or not options.cmd:
            return "command: `cmd` is missing: give the program and its arguments as a list"
        return await self._builds.of(spec.binary or options.cmd[0])

    def check(self, spec: ServiceSpec, build: EngineBuild | None) -> Check:
        """The command has to be told its port."""
        del build
        wrong = list(pinning.problems(spec))
        words = (*(spec.command.cmd if spec.command else ()), *spec.args)
        if spec.port is None and not any(_PORT in word for word in words):
            wrong.append(
                f"command: `cmd` has no {_PORT}: add it where the server takes its port, or set `port`"
            )
        return Check(tuple(wrong), not_built(spec))

    def files(self, spec: ServiceSpec) -> tuple[str, ...]:
        """The model, where a path is given."""
        return (spec.model,) if spec.model and spec.model.startswith("/") else ()

    def compose(
        self,
        spec: ServiceSpec,
        build: EngineBuild,
        *,
        cards: tuple[CardId, ...],
        card_indexes: Mapping[CardId, int],
        port: int,
        files: tuple[FileIdentity, ...],
        generation: int,
        split: tuple[int, ...] = (),
    ) -> Launch:
        """The command with its port filled in."""
        del card_indexes, generation, split
        words = (*(spec.command.cmd if spec.command else ())[1:], *spec.args)
        return Launch(
            engine=self.kind,
            argv=(build.path, *_filled(words, port)),
            env=pinning.environment(self._base_env, spec, pinning.visible_by_uuid(cards)),
            port=port,
            cards=cards,
            files=files,
            build=build.version,
            fingerprint=fingerprint(build, files, len(cards), [*words, spec.env]),
        )

    async def probe(self, spec: ServiceSpec, launch: Launch) -> ProbeAnswer:
        """The `ready` path answers 200 and, for a language model, `/v1/models` names it."""
        name = None if spec.task is Task.NONE else spec.name
        path = spec.command.ready if spec.command else "/v1/models"
        return await readiness(launch.port, name, self._bounds.probe, health=path)

    async def warm_up(self, spec: ServiceSpec, launch: Launch) -> str:
        """One request of the task's kind; none for `task: none`."""
        return await warm_up(launch.port, spec.name, spec.task, self._bounds.warm_up)

    def counts_requests(self, spec: ServiceSpec) -> bool:
        """Whether the preset says where its count can be read."""
        return spec.command is not None and spec.command.in_flight is not None

    async def in_flight(self, spec: ServiceSpec, launch: Launch) -> int | None:
        """What the `in_flight` path tells: `/load#running` is a JSON field or a Prometheus metric."""
        if spec.command is None or spec.command.in_flight is None:
            return None
        path, _, field = spec.command.in_flight.partition("#")
        try:
            answer = await http.get(launch.port, path, self._bounds.probe)
        except http.EngineHttpError:
            return None
        return _count(answer.text, field) if answer.status == 200 else None

    def ladder(
        self, spec: ServiceSpec, launch: Launch, *, state: ServiceState, drained: bool
    ) -> tuple[Rung, ...]:
        """`stop_cmd` first, in every state: it may know of things that no signal reaches."""
        options = spec.command or CommandOptions(())
        stop = _filled(options.stop_cmd, launch.port)
        first = (Rung("command", spec.stop_grace, argv=stop),) if stop else ()
        return ladder(spec, self._bounds, state, drained=drained, first=first)

    def explain(
        self, lines: Sequence[str], exit_report: ExitReport | None, launch: Launch | None = None
    ) -> str:
        """From the log, by the same rules as the known engines."""
        return explain(lines, exit_report, launch.cards if launch else ())

    async def clean(self, spec: ServiceSpec, launch: Launch) -> None:
        """Nothing is known that could be left."""

    async def outside(self, spec: ServiceSpec, launch: Launch) -> tuple[int, ...]:
        """Nobody."""
        del spec, launch
        return ()

    async def owns_listener(self, spec: ServiceSpec, launch: Launch, pids: Collection[int]) -> bool | None:
        """Whether one of the tree's processes listens."""
        del spec
        return await self._host.listens(launch.port, pids)


async def _describe(identity: FileIdentity) -> EngineBuild:
    return EngineBuild(identity.path, f"{identity.size}-{identity.modified_ns}", identity=identity)


def _filled(words: Sequence[str], port: int) -> tuple[str, ...]:
    return tuple(word.replace(_PORT, str(port)) for word in words)


def _count(text: str, field: str) -> int | None:
    try:
        value = json.loads(text)
    except ValueError:
        sum_of_samples = total(text, (field,)) if field else None
        return None if sum_of_samples is None else round(sum_of_samples)
    for key in field.split(".") if field else ():
        value = value.get(key) if isinstance(value, dict) else None
    return round(value) if isinstance(value, int | float) else None
