"""Many requests are cut at once: the target has to notice, and to be well again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from gpumod.bench.meter.exchange import place
from gpumod.bench.meter.reply import Reply
from gpumod.bench.suites._common.asking import Asker, user
from gpumod.bench.suites._common.texts import passage
from gpumod.bench.suites.stress import formulas as f
from gpumod.bench.suites.stress.finding import Finding
from gpumod.bench.suites.stress.parameters import Parameters
from gpumod.bench.suites.stress.plain import ask_plainly
from gpumod.core.job import Outcome
from gpumod.core.job_ports import Case, Endpoint
from gpumod.engines.http import EngineHttpError, get
from gpumod.engines.metrics import total

_LOOK: Final = 0.0625
_SETTLE: Final = 5.0
"""So long after the first of them has begun to answer, the others are not waited for any more."""
_POLL: Final = 1.5
"""llama.cpp looks for clients that have gone once it has had no question for a second."""
_PATIENCE: Final = 5.0
_IN_FLIGHT: Final = (
    "llamacpp:requests_processing",
    "llamacpp:requests_deferred",
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
)


async def check(case: Case, parameters: Parameters, asker: Asker) -> Finding:
    """Cut them all, ask something ordinary, and see that the engine has nothing left to do."""
    many, seed = int(str(case.data["many"])), str(case.data["seed"])
    storm = _Storm(asker, many, seed, parameters)
    await storm.blow()
    cut = asker.bench.clock.monotonic()
    numbers: dict[str, float] = {
        f.STORM_CUT.id: float(storm.streaming),
        f.STORM_WAITING.id: float(storm.waiting),
    }
    details: dict[str, object] = {"ended_before_the_cut": storm.outcomes}
    if not storm.streaming:
        outcome, error = storm.failure
        return Finding(outcome, f"nothing could be cut in mid-stream{error}", numbers, details)
    outcome, wrong = await ask_plainly(asker, seed, parameters.bound)
    if not wrong:
        numbers[f.STORM_RECOVERY.id] = asker.bench.clock.monotonic() - cut
    left = await _left(asker, parameters.bound)
    details["in_flight_is_told"] = left is not None
    if left is not None:
        numbers[f.STORM_LEFT.id] = left
    if left and not wrong:
        outcome, wrong = Outcome.WRONG, f"the engine still counts {left:g} requests of those that were cut"
    return Finding(outcome, wrong, numbers, details)


class _Storm:
    """Many requests at once."""

    def __init__(self, asker: Asker, many: int, seed: str, parameters: Parameters) -> None:
        self._asker = asker
        self._many = many
        self._seed = seed
        self._patience = parameters.timeout
        self._tokens = parameters.long_tokens(asker.bench.endpoint)
        self._heard: set[int] = set()
        self._ended: dict[int, Reply] = {}
        self.streaming = 0
        self.waiting = 0

    @property
    def outcomes(self) -> Mapping[str, int]:
        """How those ended that ended by themselves."""
        every = [reply.outcome.value for reply in self._ended.values()]
        return {one: every.count(one) for one in sorted(set(every))}

    @property
    def failure(self) -> tuple[Outcome, str]:
        """Why nothing could be cut."""
        bad = next((one for one in self._ended.values() if not one.answered), None)
        if bad is not None:
            return bad.outcome, f": {bad.error}"
        if self._ended:
            return Outcome.WRONG, ": the answers were too short"
        return Outcome.TIMEOUT, ": no request began to answer in time"

    async def blow(self) -> None:
        """Send them, and cut them once as many as can have begun to answer, or the time is over."""
        tasks = [asyncio.ensure_future(self._one(number)) for number in range(self._many)]
        try:
            await self._until_they_answer(tasks)
            under_way = {number for number, task in enumerate(tasks) if not task.done()}
            self.streaming = len(under_way & self._heard)
            self.waiting = len(under_way - self._heard)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _until_they_answer(self, tasks: list[asyncio.Task[None]]) -> None:
        clock = self._asker.bench.clock
        slots = self._asker.bench.endpoint.slots
        wanted = min(self._many, slots or self._many)
        deadline, first = clock.monotonic() + self._patience, None
        while not all(task.done() for task in tasks) and len(self._heard) < wanted:
            now = clock.monotonic()
            if self._heard and first is None:
                first = now
            if now >= deadline or (first is not None and now >= first + _SETTLE):
                return
            await clock.sleep(_LOOK)

    async def _one(self, number: int) -> None:
        text = f"{passage(f'{self._seed} {number}', 8)}\n\nWrite a long essay of twelve chapters about this."
        self._ended[number] = await self._asker.ask(
            [user(text)],
            self._tokens,  # none of them is to end by itself
            timeout=2 * self._patience,
            heard=lambda: self._heard.add(number),
        )


async def _left(asker: Asker, bound: float) -> float | None:
    """Requests that the engine counts: none at once, or what is left at the end of the bound."""
    clock = asker.bench.clock
    deadline = clock.monotonic() + bound
    while True:
        await clock.sleep(_POLL)
        count = await _in_flight(asker.bench.endpoint)
        if not count or clock.monotonic() >= deadline:
            return count


async def _in_flight(endpoint: Endpoint) -> float | None:
    try:
        answer = await get(place(endpoint.url)[1], "/metrics", _PATIENCE)
    except (EngineHttpError, ValueError):
        return None
    return total(answer.text, _IN_FLIGHT) if answer.status == 200 else None
