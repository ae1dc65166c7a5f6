"""A server in a container, by podman's or docker's command line.

The runner's process is the command line tool; the server's are children of the runtime's own monitor. So
stopping goes through the runtime, and what is left is found by its labels. `args` of the preset are further
options of `run`, such as `--shm-size=8g`; the server's own arguments are `container.command`.
"""

from __future__ import annotations

import contextlib
import math
import re
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from gpumod.core.bounds import DEFAULT_BOUNDS, Bounds
from gpumod.core.names import HOST_CARD, CardId, ServiceId
from gpumod.core.ports import Check, EngineBuild, ProbeAnswer, Readiness, Rung
from gpumod.core.service import ExitReport, FileIdentity, Launch
from gpumod.core.spec import ContainerOptions, EngineKind, ServiceSpec, Task
from gpumod.core.states import ServiceState
from gpumod.engines import pinning, programs
from gpumod.engines.args import contradictions, fingerprint, owned
from gpumod.engines.aside import ANSWER, aside
from gpumod.engines.ladders import Way, kill, way
from gpumod.engines.llama_cpp import not_built
from gpumod.engines.logs import explain
from gpumod.engines.probing import readiness, requests_in_metrics, warm_up

_RUNTIMES: Final = ("podman", "docker")
_REQUESTS: Final = (
    "llamacpp:requests_processing",
    "llamacpp:requests_deferred",
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
)
_COMMAND: Final = 10.0
"""Seconds for one command of the runtime; it answers in tenths of one."""
_ASK_AGAIN: Final = 0.2
"""Seconds between two questions after a container that does not exist yet."""

OWNED: Final = (
    owned("gpumod names its containers: remove it", "--name", "--replace", "--cidfile", "--label", "-l"),
    owned("gpumod watches the foreground process: remove it", "-d", "--detach", "--restart", "--rm"),
    owned("port", "-p", "--publish", "-P", "--publish-all"),
    owned("the port is published on loopback only: remove it", "--network", "--net", "--pod"),
    owned("container.mounts", "-v", "--volume", "--mount"),
    owned("cards", "--gpus", "--runtime"),
    owned("images are fetched by hand, not during a switch: remove it", "--pull"),
    owned("env", "-e", "--env", "--env-file"),
)  # fmt: skip


class _Process(NamedTuple):
    """A process that cannot be confused with a later one of the same pid."""

    pid: int
    start_ticks: int


class ContainerEngine:
    """The port `Engine` for a container."""

    kind = EngineKind.CONTAINER
    exclusive_start = False

    def __init__(
        self,
        runtime: str | None = None,
        instance: str = "",
        bounds: Bounds = DEFAULT_BOUNDS,
        base_env: Mapping[str, str] | None = None,
        user: str | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._base_env = dict(base_env or {})
        self._user = user
        self._runtime = runtime
        self._instance = instance
        self._bounds = bounds
        self._monotonic = monotonic
        self._main: dict[str, _Process] = {}
        self._asked: dict[str, float] = {}
        self._has_metrics: dict[ServiceId, bool] = {}

    async def build(self, spec: ServiceSpec) -> EngineBuild | str:
        """The runtime, with the image's id as its version: a newer image is another build."""
        if spec.container is None:
            return "container: `image` is missing"
        sources = [mount.source for mount in spec.container.mounts]
        try:
            missing = await aside(
                ", ".join(sources), lambda: [one for one in sources if not Path(one).exists()]
            )
        except TimeoutError:
            return f"container.mounts: {', '.join(sources)}: no answer within {ANSWER:g} s"
        if missing:
            return f"container.mounts: {', '.join(missing)}: no such file or directory"
        wanted = spec.binary or spec.container.runtime or self._runtime
        name = wanted or next((one for one in _RUNTIMES if shutil.which(one)), None)
        if name is None:
            return "neither podman nor docker is installed"
        identity = await programs.located(name)
        if isinstance(identity, str):
            return identity
        image = spec.container.image
        code, text = await self._say(identity.path, "image", "inspect", "--format", "{{.Id}}", image)
        if code != 0:
            if "no such" in text.lower() or "not known" in text.lower():
                return f"the image {image} is not on this box: {name} pull {image}"
            return f"{name} does not work here: {_last_line(text)}"
        return EngineBuild(identity.path, _last_line(text), identity=identity)

    def check(self, spec: ServiceSpec, build: EngineBuild | None) -> Check:
        """Options of `run` that belong to keys."""
        del build
        wrong = [*contradictions(spec.args, OWNED), *pinning.problems(spec)]
        return Check(tuple(wrong), not_built(spec))

    def files(self, spec: ServiceSpec) -> tuple[str, ...]:
        """The model, where a path of the host is given."""
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
        """`run` in the foreground, named and labelled by service and generation."""
        del card_indexes, split
        options = spec.container or ContainerOptions("")
        name = self._name(spec, generation)
        labels = (f"gpumod.service={spec.id}", f"gpumod.instance={self._instance}")
        run = [build.path, "run", "--rm", "--pull", "never", "--name", name]
        run += [word for label in labels for word in ("--label", label)]
        run += ["--publish", f"127.0.0.1:{port}:{options.port}"]
        # The value stays out of the command line: the runtime takes it from its own environment.
        inner = [word for key, _ in spec.env for word in ("--env", key)]
        for mount in options.mounts:
            inner += ["--volume", f"{mount.source}:{mount.target}" + (":ro" if mount.read_only else "")]
        inner += [*_gpu_options(build.path, cards), *spec.args, options.image, *options.command]
        return Launch(
            engine=self.kind,
            argv=(*run, *inner),
            env=pinning.environment(self._base_env, spec, {}),
            port=port,
            cards=cards,
            files=files,
            build=build.version,
            container=name,
            fingerprint=fingerprint(
                build, files, len(cards), [options.image, options.command, spec.args, spec.env]
            ),
        )

    async def probe(self, spec: ServiceSpec, launch: Launch) -> ProbeAnswer:
        """`/v1/models` alone: not every server has `/health`."""
        name = None if spec.task is Task.NONE else spec.name
        answer = await readiness(launch.port, name, self._bounds.probe, health="/v1/models")
        if answer.readiness is Readiness.READY and spec.id not in self._has_metrics:
            count = await requests_in_metrics(launch.port, _REQUESTS, self._bounds.probe)
            self._has_metrics[spec.id] = count is not None
        return answer

    async def warm_up(self, spec: ServiceSpec, launch: Launch) -> str:
        """One request of the task's kind."""
        return await warm_up(launch.port, spec.name, spec.task, self._bounds.warm_up)

    def counts_requests(self, spec: ServiceSpec) -> bool:
        """Whether the server inside was seen to have llama.cpp's or vLLM's metrics."""
        return self._has_metrics.get(spec.id, False)

    async def in_flight(self, spec: ServiceSpec, launch: Launch) -> int | None:
        """By llama.cpp's and vLLM's metrics."""
        del spec
        return await requests_in_metrics(launch.port, _REQUESTS, self._bounds.probe)

    def ladder(
        self, spec: ServiceSpec, launch: Launch, *, state: ServiceState, drained: bool
    ) -> tuple[Rung, ...]:
        """Through the runtime; `kill` ends its command line tool, and `clean` removes the container."""
        runtime, name = launch.argv[0], launch.container or ""
        if way(state, drained=drained) is Way.HARD:
            first = Rung("command", _COMMAND, argv=(runtime, "kill", name))
        else:
            grace = max(1, math.ceil(spec.stop_grace))
            first = Rung("command", grace + _COMMAND, argv=(runtime, "stop", "-t", str(grace), name))
        return (first, kill(self._bounds))

    def explain(
        self, lines: Sequence[str], exit_report: ExitReport | None, launch: Launch | None = None
    ) -> str:
        """From the log; 137 is SIGKILL, which in a container may be its memory limit."""
        why = explain(lines, exit_report, launch.cards if launch else ())
        if exit_report is not None and exit_report.code == 137:
            return f"{why} (killed from outside, or by the container's memory limit)"
        return why

    async def clean(self, spec: ServiceSpec, launch: Launch) -> None:
        """Remove this attempt's container and those of earlier attempts, never a later one's."""
        runtime, name = launch.argv[0], launch.container
        if name is None:
            return
        filters = [f"label=gpumod.service={spec.id}", f"label=gpumod.instance={self._instance}"]
        options = [word for one in filters for word in ("--filter", one)]
        _, listed = await self._say(runtime, "ps", "--all", "--format", "{{.Names}}", *options)
        mine = _generation(name)
        names = {one for one in listed.split() if 0 <= _generation(one) <= mine}
        if names:
            await self._say(runtime, "rm", "--force", *sorted(names))
        self._main.pop(name, None)
        self._asked.pop(name, None)
        self._has_metrics.pop(spec.id, None)

    async def outside(self, spec: ServiceSpec, launch: Launch) -> tuple[int, ...]:
        """The container's first process and its descendants: with it, all processes inside end."""
        del spec
        name = launch.container
        if name is None:
            return ()
        if name not in self._main:
            await self._find_main(launch.argv[0], name)
        main = self._main.get(name)
        return tuple(_descendants(main.pid)) if main is not None and _process(main.pid) == main else ()

    async def owns_listener(self, spec: ServiceSpec, launch: Launch, pids: Collection[int]) -> bool | None:
        """Whether the runtime maps the port to this container."""
        del spec, pids
        if launch.container is None:
            return None
        code, text = await self._say(launch.argv[0], "port", launch.container)
        return f"127.0.0.1:{launch.port}" in text.split() if code == 0 else None

    def _name(self, spec: ServiceSpec, generation: int) -> str:
        parts = ["gpumod", self._instance, re.sub(r"[^a-zA-Z0-9_.-]", "-", str(spec.id)), f"g{generation}"]
        return "-".join(part for part in parts if part)

    async def _find_main(self, runtime: str, name: str) -> None:
        """Ask for it; not faster than it can appear, since each question starts a process."""
        now = self._monotonic()
        if now - self._asked.get(name, -math.inf) < _ASK_AGAIN:
            return
        self._asked[name] = now
        code, text = await self._say(runtime, "container", "inspect", "--format", "{{.State.Pid}}", name)
        process = _process(int(text)) if code == 0 and text.strip().isdigit() else None
        if process is not None:
            self._main[name] = process

    async def _say(self, *argv: str) -> tuple[int, str]:
        try:
            return await programs.output(argv, seconds=_COMMAND, user=self._user)
        except TimeoutError:
            return 124, f"{argv[0]} {argv[1]} did not answer within {_COMMAND:g} s"
        except OSError as error:
            return 126, f"{argv[0]}: {error.strerror}"


def _gpu_options(runtime: str, cards: tuple[CardId, ...]) -> Iterator[str]:
    if cards == (HOST_CARD,):
        return
    if "docker" in Path(runtime).name:
        # The quotes are docker's: a comma would otherwise end the value.
        yield from ("--gpus", f'"device={",".join(cards)}"')
    else:
        for card in cards:
            yield from ("--device", f"nvidia.com/gpu={card}")


def _generation(name: str) -> int:
    match = re.search(r"-g(\d+)$", name)
    return int(match[1]) if match else -1


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no output"])[-1][:300]


def _process(pid: int) -> _Process | None:
    """The living process of that pid; None when it is gone or a zombie."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        if fields[0] not in {"Z", "X"}:
            return _Process(pid, int(fields[19]))
    return None


def _descendants(pid: int) -> Iterator[int]:
    """The process and all below it that live."""
    if _process(pid) is None:
        return
    yield pid
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from _descendants(int(child))
