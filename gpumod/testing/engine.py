"""An engine without processes, for tests of what uses the port `Engine`."""

from __future__ import annotations

import hashlib
import signal
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from gpumod.core.names import CardId, ServiceId
from gpumod.core.ports import Check, EngineBuild, ProbeAnswer, Readiness, Rung
from gpumod.core.service import ExitReport, FileIdentity, Launch
from gpumod.core.spec import EngineKind, ServiceSpec
from gpumod.core.states import ServiceState

_T = TypeVar("_T")

READY = ProbeAnswer(Readiness.READY)
_NOTHING_TO_SAY = Check()


@dataclass(slots=True)
class Behaviour:
    """How the fake engine treats one service; tests change it as they go.

    Args:
        build_problem: why the program cannot be used.
        check: what is said about the spec.
        probes: answers of the next probes; the last one stays.
        warm_up_problem: why the warm-up request fails; empty when it is answered.
        busy: requests in flight at the next questions; the last one stays, None is no answer.
        counts_requests: whether it can be asked at all.
        outside: pids of the service that are not in the runner's tree.
        owns_listener: whether the listener is its own.
        why: what `explain` says.
    """

    build_problem: str = ""
    check: Check = _NOTHING_TO_SAY
    probes: deque[ProbeAnswer] = field(default_factory=lambda: deque([READY]))
    warm_up_problem: str = ""
    busy: deque[int | None] = field(default_factory=lambda: deque([0]))
    counts_requests: bool = True
    outside: tuple[int, ...] = ()
    owns_listener: bool | None = True
    why: str = ""

    def then(self, *answers: ProbeAnswer | Readiness) -> None:
        """Script the next probes."""
        self.probes = deque(one if isinstance(one, ProbeAnswer) else ProbeAnswer(one) for one in answers)

    def requests(self, counts: Iterable[int | None]) -> None:
        """Script the next answers about requests in flight."""
        self.busy = deque(counts)


class FakeEngine:
    """The port `Engine`, scripted per service. `calls` is what was asked of it, in order."""

    def __init__(
        self,
        kind: EngineKind = EngineKind.COMMAND,
        *,
        exclusive_start: bool = False,
        after_kill: float = 10.0,
    ) -> None:
        self.kind = kind
        self.exclusive_start = exclusive_start
        self.calls: list[tuple[str, ServiceId]] = []
        self._after_kill = after_kill
        self._behaviours: dict[ServiceId, Behaviour] = {}

    def of(self, service: ServiceId) -> Behaviour:
        """How that service is treated."""
        return self._behaviours.setdefault(service, Behaviour())

    async def build(self, spec: ServiceSpec) -> EngineBuild | str:
        return self.of(spec.id).build_problem or EngineBuild("/fake/engine", "1.0")

    def check(self, spec: ServiceSpec, build: EngineBuild | None) -> Check:
        del build
        return self.of(spec.id).check

    def files(self, spec: ServiceSpec) -> tuple[str, ...]:
        return (spec.model,) if spec.model else ()

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
        del card_indexes, generation
        facts = repr((spec.model, spec.context, spec.slots, spec.args, files, len(cards), build.version))
        return Launch(
            engine=self.kind,
            argv=(build.path, spec.name, str(port), *map(str, split), *spec.args),
            env=(("CUDA_VISIBLE_DEVICES", ",".join(cards)),),
            port=port,
            cards=cards,
            files=files,
            build=build.version,
            fingerprint=hashlib.sha256(facts.encode()).hexdigest()[:32],
        )

    async def probe(self, spec: ServiceSpec, launch: Launch) -> ProbeAnswer:
        del launch
        self.calls.append(("probe", spec.id))
        return _next(self.of(spec.id).probes)

    async def warm_up(self, spec: ServiceSpec, launch: Launch) -> str:
        del launch
        self.calls.append(("warm_up", spec.id))
        return self.of(spec.id).warm_up_problem

    def counts_requests(self, spec: ServiceSpec) -> bool:
        return self.of(spec.id).counts_requests

    async def in_flight(self, spec: ServiceSpec, launch: Launch) -> int | None:
        del launch
        self.calls.append(("in_flight", spec.id))
        return _next(self.of(spec.id).busy)

    def ladder(
        self, spec: ServiceSpec, launch: Launch, *, state: ServiceState, drained: bool
    ) -> tuple[Rung, ...]:
        del launch, state
        kill = Rung("kill", self._after_kill)
        return (Rung("signal", spec.stop_grace, number=signal.SIGTERM), kill) if drained else (kill,)

    def explain(
        self, lines: Sequence[str], exit_report: ExitReport | None, launch: Launch | None = None
    ) -> str:
        del lines, launch
        known = self._behaviours.get(exit_report.key.service) if exit_report else None
        return known.why if known else ""

    async def clean(self, spec: ServiceSpec, launch: Launch) -> None:
        del launch
        self.calls.append(("clean", spec.id))

    async def outside(self, spec: ServiceSpec, launch: Launch) -> tuple[int, ...]:
        del launch
        return self.of(spec.id).outside

    async def owns_listener(self, spec: ServiceSpec, launch: Launch, pids: Collection[int]) -> bool | None:
        del launch, pids
        return self.of(spec.id).owns_listener


def _next(answers: deque[_T]) -> _T:
    return answers.popleft() if len(answers) > 1 else answers[0]
