"""Writes `docs/landmines.md` from the landmines, so that the two cannot differ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gpumod.core.spec import EngineKind
from gpumod.estimate.landmines.find import TRAPS
from gpumod.estimate.landmines.trap import Trap

_INTRODUCTION: Final = """\
# Landmines

Settings that are known to fail, to waste memory or to give wrong answers, found before a launch. A *fatal*
one refuses the launch; a *warning* is shown by `gpumodctl preflight` and by every plan. Some are the one or
the other, as the launch decides: the sentence that is shown has the launch's own numbers.

This page is written by `python -m gpumod.estimate.landmines > docs/landmines.md` from the table in
`gpumod/estimate/landmines/`, which has one file per engine. A new landmine is one function there with its
words (`trap.py` shows how), its name in the tuple at the end of the file, and two launches in
`tests/estimate/landmines/`: one that steps on it and one that does not.
"""

_ELSEWHERE: Final = """\
## Caught elsewhere

These are known as well, and something else of gpumod makes them impossible or says them, so that they are not
said twice:

| trap | what becomes of it |
| --- | --- |
| `repetition_penalty` under `sampler:` | `config check` refuses it and suggests `repeat_penalty` |
| a model's file or shard that is missing | the plan is refused with `file_missing`, which names it |
| `--fit` of llama.cpp | off in every launch that gpumod composes; `args` may not set it |
| `-np` unset, four slots over one cache | always given; slots do not share the cache |
| a build without the option that a key needs | the adapter reads `--help` and refuses |
| utilisation above what is free on the card | the plan is refused: vLLM's start rule is part of its charge |
| two vLLM starts, or a stop beside one, on a card | starts that measure their cards have them to themselves |
| cards named by UUID where vLLM reads numbers | pinned by index, in PCI order, for versions before 0.23 |
| `CUDA_VISIBLE_DEVICES` in `env` | refused: `cards` decides |
| cards of several models under one vLLM | not planned: tensor parallelism wants equal cards |
| a restart loop over an out-of-memory start | restarts are counted, and go through admission |
| GB for GiB | sizes have units, and bytes are read from the files |
| more than the utilisation is used after `/health` | the peak is measured and learned |
"""


def page() -> str:
    """The whole page, in Markdown."""
    return "\n".join([_INTRODUCTION, *_sections(), _ELSEWHERE])


def _sections() -> Iterator[str]:
    for title, engines in (
        ("Every engine", None),
        ("llama.cpp", frozenset({EngineKind.LLAMA_CPP})),
        ("vLLM", frozenset({EngineKind.VLLM})),
    ):
        own = [one for one in TRAPS if (one.engines == engines if engines else len(one.engines) > 1)]
        yield f"## {title}\n"
        yield from map(_entry, own)


def _entry(one: Trap) -> str:
    engines = ", ".join(sorted(one.engines))
    return (
        f"### {one.id}\n\n"
        f"*{one.severity}* · {engines}\n\n"
        f"{one.reason}\n\n"
        f"- Fix: {one.fix}.\n"
        f"- Source: {one.source}.\n"
    )
