"""The parameters of `soak`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

from gpumod.bench.meter.sampler import GREEDY
from gpumod.bench.suites._common import reading
from gpumod.core.job_ports import Endpoint

_MOST: Final = 10_000_000
_OVERHEAD: Final = 40
"""Tokens of a turn beside its text and its answer."""
_MOST_PER_SENTENCE: Final = 20
"""Tokens; most models need some 14."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """How long, and of what.

    Args:
        sessions: conversations, one after the other, each with a text of its own.
        turns: requests of a session; each has all before it in its prompt.
        tokens: of an answer at most; fewer where the target's context is too small.
        sentences: of the text that the user says with every turn; some 14 tokens each. Fewer where the
            target's context is too small.
        pause: seconds between two sessions.
        timeout: seconds for one request.
        seed: of all texts.
    """

    sessions: int = 20
    turns: int = 5
    tokens: int = 512
    sentences: int = 40
    pause: float = 0.0
    timeout: float = 600.0
    seed: int = 1
    sampler: str = GREEDY.name
    thinking: bool | None = None

    def document(self) -> dict[str, object]:
        """As JSON has it."""
        return asdict(self)

    def answer_tokens(self, endpoint: Endpoint) -> int:
        """Tokens of an answer, of which those of a session take half of the context at most."""
        most = self.tokens if endpoint.context is None else endpoint.context // (2 * self.turns)
        return max(1, min(self.tokens, most))

    def fitting(self, endpoint: Endpoint) -> int:
        """Sentences per turn with which a session stays within the context."""
        if endpoint.context is None:
            return self.sentences
        room = endpoint.context // self.turns - self.answer_tokens(endpoint) - _OVERHEAD
        return max(0, min(self.sentences, room // _MOST_PER_SENTENCE))


def read(given: Mapping[str, object]) -> Parameters:
    """The parameters with their defaults.

    Raises:
        InvalidRequestError: an unknown or a wrong one.
    """
    every = reading.merged("soak", given, Parameters().document())
    return Parameters(
        sessions=reading.whole("sessions", every["sessions"], 1, 100_000),
        turns=reading.whole("turns", every["turns"], 1, 100),
        tokens=reading.whole("tokens", every["tokens"], 1, _MOST),
        sentences=reading.whole("sentences", every["sentences"], 1, 100_000),
        pause=reading.share("pause", every["pause"], 86400.0),
        timeout=reading.seconds("timeout", every["timeout"]),
        seed=reading.whole("seed", every["seed"], 0, _MOST),
        sampler=reading.sampler(every["sampler"]),
        thinking=reading.thinking(every["thinking"]),
    )
