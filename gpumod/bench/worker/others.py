"""Other clients' requests at an engine while it is measured, as far as its counters tell of them."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gpumod.bench.meter.ledger import LEDGER, Ledger
from gpumod.engines.metrics import total

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpumod.bench.worker.attending import Attendant
    from gpumod.bench.worker.integrity import Integrity
    from gpumod.bench.worker.parts import WorkerParts
    from gpumod.bench.worker.targets import Aim
    from gpumod.core.job_ports import Endpoint

_BUSY: Final = (
    "llamacpp:requests_processing", "llamacpp:requests_deferred",
    "vllm:num_requests_running", "vllm:num_requests_waiting",
)  # fmt: skip
_PROMPT: Final = ("llamacpp:prompt_tokens_total", "vllm:prompt_tokens_total")
_GENERATED: Final = ("llamacpp:tokens_predicted_total", "vllm:generation_tokens_total")
_SLACK: Final = 16
"""Fewer tokens than these are no evidence."""


@dataclass(frozen=True, slots=True)
class Counters:
    """What an engine has served since its start, and what it works on now.

    Args:
        whole: prompts count with what came from the cache, as vLLM counts them; llama.cpp counts what it has
            read (server-context.cpp, `on_prompt_eval`).
    """

    busy: float
    prompt: float
    generated: float
    whole: bool = False


def counters_of(page: str) -> Counters | None:
    """The counters in an engine's `/metrics`; None where it has none."""
    busy, prompt, generated = (total(page, names) for names in (_BUSY, _PROMPT, _GENERATED))
    if busy is None or prompt is None or generated is None:
        return None
    return Counters(busy, prompt, generated, whole=total(page, _PROMPT[1:]) is not None)


class Others:
    """Tells what others were served from what the job asked for itself.

    A stretch of cases is counted as one, because an engine may count an answer a moment after it was given.
    It ends where the job itself cannot say what it has cost, and there nothing is claimed.

    Attributes:
        counted: cases for which it is known.
        unknown: cases for which it is not.
    """

    def __init__(self, service: str) -> None:
        self._service = service
        self._launch: object = None
        self._base: Counters | None = None
        self._own = (0.0, 0.0)
        self._open = (0.0, 0.0)
        self._served = (0.0, 0.0)
        self._all_own = (0, 0, 0)
        self.counted = 0
        self.unknown = 0

    def begin(self, launch: object, now: Counters | None) -> None:
        """Count from here on, at this launch of the engine."""
        self._served = self.served
        self._launch, self._base = launch, now
        self._own = self._open = (0.0, 0.0)

    def after(self, launch: object, now: Counters | None, own: Ledger) -> bool:
        """A case has ended, for which the job has asked this much; whether what others got is known."""
        requests, prompt, generated = self._all_own
        self._all_own = (requests + own.requests, prompt + own.prompt, generated + own.generated)
        base = self._base
        told = own.requests > 0 and own.untold == 0 and launch == self._launch
        if not told or now is None or base is None or now.prompt < base.prompt:
            self.unknown += 1
            # What is in flight now may be the job's own, cut and not given up by the engine yet.
            self.begin(launch, None if now is None or now.busy > 0 else now)
            return False
        self.counted += 1
        read = own.prompt if now.whole else own.read
        self._own = (self._own[0] + read, self._own[1] + own.generated)
        self._open = (now.prompt - base.prompt - self._own[0], now.generated - base.generated - self._own[1])
        return True

    @property
    def served(self) -> tuple[float, float]:
        """Tokens of prompts and of answers that others got; what is too little for evidence is nothing."""
        prompt, generated = (one if one > _SLACK else 0.0 for one in self._open)
        return self._served[0] + prompt, self._served[1] + generated

    @property
    def sentence(self) -> str:
        """What speaks against the result; empty where nothing does."""
        prompt, generated = self.served
        if not prompt and not generated:
            return ""
        return (
            f"{self._service} served other clients meanwhile: {prompt:.0f} tokens of prompts and "
            f"{generated:.0f} of answers beyond the job's own, by the engine's counters"
        )

    def in_flight(self, busy: float, where: str) -> str:
        """What is to be said of requests at the engine while the job has none there."""
        many = f"{busy:.0f} request{'s' * (busy != 1)} of other clients"
        return f"{self._service} had {many} in flight {where}"

    def document(self) -> dict[str, object]:
        """What was counted, as JSON values."""
        requests, prompt, generated = self._all_own
        others = self.served
        return {
            "own": {"requests": requests, "prompt_tokens": prompt, "generated_tokens": generated},
            "others": {"prompt_tokens": others[0], "generated_tokens": others[1]} if self.counted else None,
            "cases_counted": self.counted,
            "cases_not_counted": self.unknown,
        }


class OthersWatch:
    """Reads the engine's counters between the cases of a target, when the job asks nothing itself.

    Args:
        integrity: is told what others were served.
    """

    def __init__(self, parts: WorkerParts, attendant: Attendant, aim: Aim, integrity: Integrity) -> None:
        self._parts = parts
        self._attendant = attendant
        self._aim = aim
        self._integrity = integrity
        self._ledger = Ledger()
        self._others: Others | None = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While this lasts, requests of the meter are counted."""
        token = LEDGER.set(self._ledger)
        try:
            yield
        finally:
            LEDGER.reset(token)

    async def begin(self, endpoint: Endpoint) -> None:
        """Before the first case. A request of an earlier attempt may still be in flight: it is not judged."""
        self._others = Others(self._aim.service)
        now = await self._counters(endpoint)
        self._others.begin(await self._launch(), now)
        if now is not None and self._attendant.job.attempt == 1:
            await self._in_flight(now, endpoint, "before the first case")

    async def after(self, case: str, endpoint: Endpoint) -> None:
        """After a case: what the engine has served beyond what the case has asked for was for others."""
        if self._others is None:
            return
        now = await self._counters(endpoint)
        if self._others.after(await self._launch(), now, self._ledger.take()) and now is not None:
            await self._in_flight(now, endpoint, f"after the case {case}")
        if sentence := self._others.sentence:
            self._integrity.put("others", sentence)

    @property
    def document(self) -> dict[str, object]:
        """What was counted, as JSON values."""
        return self._others.document() if self._others is not None else {}

    async def _in_flight(self, now: Counters, endpoint: Endpoint, where: str) -> None:
        """A gauge may be a moment late, so it is asked twice."""
        if now.busy <= 0 or self._others is None:
            return
        await self._attendant.attend(self._parts.clock.sleep(self._parts.pace.look))
        again = await self._counters(endpoint)
        if again is not None and again.busy > 0:
            self._integrity.note("in flight", self._others.in_flight(again.busy, where))

    async def _counters(self, endpoint: Endpoint) -> Counters | None:
        return counters_of(await self._parts.page(endpoint, "/metrics"))

    async def _launch(self) -> object:
        status = await self._parts.switching.status()
        return next((one.generation for one in status.services if one.id == self._aim.service), None)
