"""llama.cpp: its `llama-server`, or the one out of the embedded wheel."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from gpumod.core.bounds import DEFAULT_BOUNDS, Bounds
from gpumod.core.names import CardId
from gpumod.core.ports import Check, EngineBuild, ProbeAnswer, Rung
from gpumod.core.service import ExitReport, FileIdentity, Launch
from gpumod.core.spec import EngineKind, Leave, ServiceSpec
from gpumod.core.states import ServiceState
from gpumod.engines import http, llama_flags, pinning, programs
from gpumod.engines.args import contradictions, fingerprint, flags, unknown
from gpumod.engines.ladders import ladder
from gpumod.engines.logs import explain
from gpumod.engines.probing import ListenerProbe, readiness, requests_in_metrics, warm_up

EMBEDDED: Final = "embedded"
"""As `binary:`, the server out of the `gpumod[embedded]` wheel."""
EMBEDDED_SERVER: Final = str(Path(__file__).with_name("embedded_server.py"))

_SHARD: Final = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")
_REQUESTS: Final = ("llamacpp:requests_processing", "llamacpp:requests_deferred")
_GAP: Final = 1.1
"""A server that has had no question for so long notices that the client of an unstreamed request has gone.

It looks once a second, and every answer about its slots, `/metrics` included, begins that second anew: asked
without a pause, the request of a client that has gone stays in flight until its generation ends.
"""
_BURST: Final = 2.0
"""So long may questions follow each other before a gap."""
_NO_CARDS: Final = {"CUDA_VISIBLE_DEVICES": ""}
"""Asking a CUDA build for its version would otherwise take memory on every card."""


class _Asked(NamedTuple):
    """When the present burst of questions began, and when the last one was asked."""

    burst: float
    last: float


class LlamaCppEngine:
    """The port `Engine` for llama.cpp."""

    kind = EngineKind.LLAMA_CPP
    exclusive_start = False

    def __init__(
        self,
        host: ListenerProbe,
        program: str = "llama-server",
        bounds: Bounds = DEFAULT_BOUNDS,
        base_env: Mapping[str, str] | None = None,
        user: str | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._host = host
        self._base_env = dict(base_env or {})
        self._program = program
        self._bounds = bounds
        self._monotonic = monotonic
        self._user = user
        self._builds = programs.Builds(self._ask)
        self._embedded_builds = programs.Builds(self._ask_embedded)
        self._asked: dict[int, _Asked] = {}

    async def build(self, spec: ServiceSpec) -> EngineBuild | str:
        """Asks `--version` and `--help`, once per file."""
        program = spec.binary or self._program
        if program == EMBEDDED:
            return await self._embedded_builds.of(sys.executable)
        return await self._builds.of(program)

    def check(self, spec: ServiceSpec, build: EngineBuild | None) -> Check:
        """Arguments that belong to keys, and keys that this engine or build does not have."""
        wrong = [
            *contradictions(spec.args, llama_flags.OWNED),
            *llama_flags.problems(spec, build),
            *pinning.problems(spec),
        ]
        if not spec.model:
            wrong.append("model: llama.cpp needs the path of a GGUF file")
        warnings = (*llama_flags.warnings(spec), *unknown(spec.args, build.flags if build else ()))
        return Check(tuple(wrong), not_built(spec), warnings)

    def files(self, spec: ServiceSpec) -> tuple[str, ...]:
        """The model with all its shards, the projector, the draft model, adapters, vectors and templates."""
        models = (spec.model, spec.mmproj, spec.draft.model if spec.draft else None)
        found = [shard for model in models if model for shard in shards(model)]
        found += llama_flags.adapters(spec.args)
        found += [
            flag.value for flag in flags(spec.args) if flag.name == "--chat-template-file" and flag.value
        ]
        return tuple(dict.fromkeys(found))

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
        """The launch record; pinned by UUID."""
        del card_indexes, generation
        pieces = tuple(llama_flags.pieces(spec, build, llama_flags.Placement(cards, port, split)))
        words = tuple(word for piece in pieces for word in piece.words)
        memory = [piece.words for piece in pieces if piece.memory]
        return Launch(
            engine=self.kind,
            argv=(*_command(build), *words),
            env=pinning.environment(self._base_env, spec, pinning.visible_by_uuid(cards)),
            port=port,
            cards=cards,
            files=files,
            build=build.version,
            fingerprint=fingerprint(build, files, len(cards), [*memory, spec.env]),
        )

    async def probe(self, spec: ServiceSpec, launch: Launch) -> ProbeAnswer:
        """`/health` is 503 while it loads, then 200."""
        return await readiness(launch.port, spec.name, self._bounds.probe)

    async def warm_up(self, spec: ServiceSpec, launch: Launch) -> str:
        """One request of the task's kind."""
        return await warm_up(launch.port, spec.name, spec.task, self._bounds.warm_up)

    def counts_requests(self, spec: ServiceSpec) -> bool:
        """Always: gpumod switches its metrics on."""
        del spec
        return True

    async def in_flight(self, spec: ServiceSpec, launch: Launch) -> int | None:
        """From `/metrics`, or from `/slots` of an adopted server without; sometimes a second late."""
        del spec
        await self._leave_gaps(launch.port)
        count = await requests_in_metrics(launch.port, _REQUESTS, self._bounds.probe)
        return count if count is not None else await self._busy_slots(launch.port)

    def ladder(
        self, spec: ServiceSpec, launch: Launch, *, state: ServiceState, drained: bool
    ) -> tuple[Rung, ...]:
        """As in `ladders`."""
        del launch
        return ladder(spec, self._bounds, state, drained=drained)

    def explain(
        self, lines: Sequence[str], exit_report: ExitReport | None, launch: Launch | None = None
    ) -> str:
        """From the log: every failure of llama.cpp exits with 1."""
        return explain(lines, exit_report, launch.cards if launch else ())

    async def clean(self, spec: ServiceSpec, launch: Launch) -> None:
        """Nothing is left outside the tree."""
        del spec
        self._asked.pop(launch.port, None)

    async def outside(self, spec: ServiceSpec, launch: Launch) -> tuple[int, ...]:
        """Nobody."""
        del spec, launch
        return ()

    async def owns_listener(self, spec: ServiceSpec, launch: Launch, pids: Collection[int]) -> bool | None:
        """Whether one of the tree's processes listens."""
        del spec
        return await self._host.listens(launch.port, pids)

    async def _ask(self, identity: FileIdentity) -> EngineBuild | str:
        return await _question((identity.path,), identity, frozenset(), self._user)

    async def _ask_embedded(self, identity: FileIdentity) -> EngineBuild | str:
        command = (identity.path, "-P", EMBEDDED_SERVER)
        return await _question(command, identity, frozenset({"embedded"}), self._user)

    async def _leave_gaps(self, port: int) -> None:
        now = self._monotonic()
        asked = self._asked.get(port)
        if asked is not None and now < asked.last + _GAP and now >= asked.burst + _BURST:
            await asyncio.sleep(asked.last + _GAP - now)
            now = self._monotonic()
        begins = asked is None or now >= asked.last + _GAP
        self._asked[port] = _Asked(now if begins or asked is None else asked.burst, now)

    async def _busy_slots(self, port: int) -> int | None:
        try:
            answer = await http.get(port, "/slots", self._bounds.probe)
        except http.EngineHttpError:
            return None
        slots = answer.json()
        if answer.status != 200 or not isinstance(slots, list):
            return None
        return sum(1 for slot in slots if isinstance(slot, dict) and slot.get("is_processing"))


def not_built(spec: ServiceSpec) -> tuple[str, ...]:
    """Keys that this version refuses rather than ignores."""
    if spec.leave is Leave.STOP:
        return ()
    return (f"leave: `{spec.leave}` is not built yet: use `stop`",)


def shards(model: str) -> tuple[str, ...]:
    """All parts of a split model (`...-00001-of-00005.gguf`), or the one file."""
    match = _SHARD.search(model)
    if match is None:
        return (model,)
    stem, count = model[: match.start()], int(match[2])
    return tuple(f"{stem}-{number:05d}-of-{count:05d}.gguf" for number in range(1, count + 1))


def _command(build: EngineBuild) -> tuple[str, ...]:
    # -P: the script's directory must not be on the module path, where its `http` would hide the library's.
    return (build.path, "-P", EMBEDDED_SERVER) if "embedded" in build.traits else (build.path,)


async def _question(
    command: tuple[str, ...], identity: FileIdentity, extra: frozenset[str], user: str | None
) -> EngineBuild | str:
    path = command[-1]
    answers = []
    for flag in ("--version", "--help"):
        try:
            code, text = await programs.output((*command, flag), _NO_CARDS, user=user)
        except TimeoutError:
            return f"{path} {flag} did not end within {programs.ASK:g} s: is it a llama-server?"
        except OSError as error:
            return f"{path} cannot be run: {error.strerror}"
        if code != 0:
            return f"{path} {flag} failed: {explain(text.splitlines(), None) or f'exit code {code}'}"
        answers.append(text)
    version, help_text = answers
    listed = programs.options(help_text)
    if not {"--port", "--ctx-size", "--alias"} <= listed:
        return f"{path} is no llama-server: its help lists no --port, --ctx-size and --alias"
    said = re.search(r"^version: (.+)$", version, re.MULTILINE)
    return EngineBuild(
        path=identity.path,
        version=said[1].strip() if said else "unknown",
        flags=listed,
        identity=identity,
        traits=llama_flags.traits(help_text) | extra,
    )
