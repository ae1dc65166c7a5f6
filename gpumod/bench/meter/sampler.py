"""How the next token is chosen, under the names that each engine understands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final

_OPENAI: Final = {
    name: name for name in ("temperature", "top_p", "presence_penalty", "frequency_penalty", "seed")
}
_ENGINES: Final[Mapping[str, Mapping[str, str]]] = {
    # llama.cpp: tools/server/README.md, POST /completion, whose options chat completions take too.
    "llama.cpp": _OPENAI | {"top_k": "top_k", "min_p": "min_p", "repeat_penalty": "repeat_penalty"},
    # vLLM: "extra parameters" of its chat API; it ignores names that it does not know.
    "vllm": _OPENAI | {"top_k": "top_k", "min_p": "min_p", "repeat_penalty": "repetition_penalty"},
}


@dataclass(frozen=True, slots=True)
class Sampler:
    """One setting; what is None is left to the server.

    Args:
        top_k: 0 is no limit.
        repeat_penalty: a factor, 1 is none (vLLM calls it `repetition_penalty`).
    """

    name: str
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repeat_penalty: float | None = None
    seed: int | None = None

    def body(self, engine: str) -> dict[str, float]:
        """The request's fields for that engine; for one that is not known, only those that OpenAI has."""
        names = _ENGINES.get(engine, _OPENAI)
        return {names[name]: value for name, value in self._given().items() if name in names}

    def left_out(self, engine: str) -> tuple[str, ...]:
        """What that engine cannot be told, and so does not happen."""
        names = _ENGINES.get(engine, _OPENAI)
        return tuple(name for name in self._given() if name not in names)

    def _given(self) -> dict[str, float]:
        pairs = ((one.name, getattr(self, one.name)) for one in fields(self) if one.name != "name")
        return {name: value for name, value in pairs if value is not None}


SERVER_DEFAULT: Final = Sampler("SERVER_DEFAULT")
GREEDY: Final = Sampler("GREEDY", temperature=0.0, top_k=1, seed=1)
THINKING_CODING: Final = Sampler("THINKING_CODING", temperature=0.6, top_p=0.95, top_k=20, min_p=0.0)
NON_THINKING: Final = Sampler("NON_THINKING", temperature=0.7, top_p=0.8, top_k=20, presence_penalty=1.5)
GEMMA_CODING: Final = Sampler("GEMMA_CODING", temperature=1.0, top_p=0.95, top_k=64, repeat_penalty=1.05)

SAMPLERS: Final[Mapping[str, Sampler]] = {
    one.name: one for one in (SERVER_DEFAULT, GREEDY, THINKING_CODING, NON_THINKING, GEMMA_CODING)
}
"""By name, as jobs ask for them."""
