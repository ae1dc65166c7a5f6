"""The parameters of `stress`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

from gpumod.bench.meter.sampler import GREEDY
from gpumod.bench.suites._common import reading
from gpumod.core.errors import InvalidRequestError
from gpumod.core.job_ports import Endpoint
from gpumod.core.units import MIB

CHECKS: Final = ("needle", "tools", "agent", "conversation", "reasoning", "repeat", "storm", "limit")
_UNKNOWN_CONTEXT: Final = 8192
_MOST: Final = 10_000_000


@dataclass(frozen=True, slots=True)
class Parameters:
    """What is checked, and how far.

    Args:
        checks: of `CHECKS`.
        depths: of the needles' prompts, as shares of the context.
        positions: of the needle, as shares of the prompt.
        load: how much of the context the other long prompts take, as a share.
        context: tokens; with a larger one of the target, only so much of it is used. None: all of it, or
            8192 where it is not known. The check `limit` goes to the target's own in any case.
        tools: defined at most; as many as fit into `load`.
        files: shown to the agent at most; as many as fit into `load`.
        turns: of a conversation.
        again: how often the same long prompt is sent.
        growth: bytes by which the target's memory on a card may grow over these.
        storm: requests that are cut at once.
        tokens: of an answer at most, or a sixteenth of the context if that is less.
        reasoning_tokens: of the long reasoning, and of each answer of the storm, at most; half of the
            context if that is less.
        reasoning_steps: of its task.
        bound: seconds within which a target has to be well again after a storm or a refusal.
        timeout: seconds for one request.
        repeats: of everything, with other texts.
        seed: of all texts.
    """

    checks: tuple[str, ...] = CHECKS
    depths: tuple[float, ...] = (0.25, 0.5, 0.75, 0.9)
    positions: tuple[float, ...] = (0.1, 0.5, 0.9)
    load: float = 0.5
    context: int | None = None
    tools: int = 128
    files: int = 48
    turns: int = 8
    again: int = 5
    growth: int = 256 * MIB
    storm: int = 8
    tokens: int = 4096
    reasoning_tokens: int = 16384
    reasoning_steps: int = 24
    bound: float = 120.0
    timeout: float = 900.0
    repeats: int = 1
    seed: int = 1
    sampler: str = GREEDY.name
    thinking: bool | None = None

    def document(self) -> dict[str, object]:
        """As JSON has it."""
        lists = {name: list(getattr(self, name)) for name in ("checks", "depths", "positions")}
        return asdict(self) | lists

    def room(self, endpoint: Endpoint) -> int:
        """Tokens of context that the checks make use of."""
        known = [one for one in (self.context, endpoint.context) if one is not None]
        return min(known) if known else _UNKNOWN_CONTEXT

    def answer_tokens(self, endpoint: Endpoint) -> int:
        """Tokens that an ordinary answer may have."""
        return max(64, min(self.tokens, self.room(endpoint) // 16))

    def long_tokens(self, endpoint: Endpoint) -> int:
        """Tokens that long reasoning may have."""
        return max(64, min(self.reasoning_tokens, self.room(endpoint) // 2))


def read(given: Mapping[str, object]) -> Parameters:
    """The parameters with their defaults.

    Raises:
        InvalidRequestError: an unknown or a wrong one.
    """
    all_of_them = reading.merged("stress", given, Parameters().document())
    context = all_of_them["context"]

    def whole(name: str, least: int, most: int) -> int:
        return reading.whole(name, all_of_them[name], least, most)

    return Parameters(
        checks=_checks(all_of_them["checks"]),
        depths=reading.shares("depths", all_of_them["depths"], 0.95),
        positions=reading.shares("positions", all_of_them["positions"]),
        load=reading.share("load", all_of_them["load"], 0.75),
        context=None if context is None else reading.whole("context", context, 512, _MOST),
        tools=whole("tools", 2, 512),
        files=whole("files", 2, 512),
        turns=whole("turns", 2, 64),
        again=whole("again", 2, 100),
        growth=whole("growth", 0, 1 << 50),
        storm=whole("storm", 1, 256),
        tokens=whole("tokens", 16, _MOST),
        reasoning_tokens=whole("reasoning_tokens", 16, _MOST),
        reasoning_steps=whole("reasoning_steps", 1, 1000),
        bound=reading.seconds("bound", all_of_them["bound"]),
        timeout=reading.seconds("timeout", all_of_them["timeout"]),
        repeats=whole("repeats", 1, 1000),
        seed=whole("seed", 0, _MOST),
        sampler=reading.sampler(all_of_them["sampler"]),
        thinking=reading.thinking(all_of_them["thinking"]),
    )


def _checks(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not value or not all(one in CHECKS for one in value):
        raise InvalidRequestError(f"checks is a list of some of {', '.join(CHECKS)}, not {value!r}")
    return tuple(one for one in CHECKS if one in value)
