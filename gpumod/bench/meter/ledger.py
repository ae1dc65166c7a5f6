"""Counts what the meter itself asks of engines, so that what others ask of them can be told from it.

The ledger is the current context's: whoever runs a suite sets one, and every request that the suite makes, in
whatever task of its own, is entered there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace

from gpumod.bench.meter.reply import Reply
from gpumod.core.job import Outcome


@dataclass(slots=True)
class Ledger:
    """Requests and their tokens, as the engine told them to who asked.

    Attributes:
        requests: all that were begun.
        untold: those of which it is not known how many tokens they cost: cut, given up, or without `usage`.
        prompt: tokens of all prompts.
        read: of these, the ones that the engine had to read anew.
        generated: tokens of all answers.
    """

    requests: int = 0
    untold: int = 0
    prompt: int = 0
    read: int = 0
    generated: int = 0

    def take(self) -> Ledger:
        """What was entered since the last time; one that is still open then is told of in neither."""
        taken = replace(self)
        self.requests = self.untold = self.prompt = self.read = self.generated = 0
        return taken

    def enter(self, reply: Reply) -> None:
        """Enter what a request has cost."""
        if reply.answered and reply.usage is not None:
            self.untold = max(0, self.untold - 1)
            self.prompt += reply.usage.prompt
            told = reply.timings.prompt_tokens if reply.timings is not None else None
            self.read += reply.usage.prompt - (reply.usage.cached or 0) if told is None else told
            self.generated += reply.usage.completion
        elif reply.outcome is Outcome.REFUSED and (reply.status or 0) >= 400:
            self.untold = max(0, self.untold - 1)  # refused before anything was read


LEDGER: ContextVar[Ledger | None] = ContextVar("LEDGER", default=None)
"""Where requests are entered; without one they are not counted."""


@contextmanager
def entered() -> Iterator[Callable[[Reply], Reply]]:
    """While a request is under way. It is untold until its reply was handed to what this yields."""
    ledger = LEDGER.get()
    if ledger is not None:
        ledger.requests += 1
        ledger.untold += 1

    def enter(reply: Reply) -> Reply:
        if ledger is not None:
            ledger.enter(reply)
        return reply

    yield enter
