"""llama.cpp's own estimator, `llama-fit-params`: what a launch would allocate, without loading weights.

It reads the header and makes the reserve of the server (common/fit.cpp `common_fit_print`), so its buffers
are exact for its build. It creates a CUDA context on the cards that it sees, and takes the recurrent state of
hybrid models for the moment that it runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from gpumod.core.names import HOST_CARD, CardId
from gpumod.core.ports import EngineBuild
from gpumod.core.preflight import OracleAnswer, OracleDevice
from gpumod.core.spec import ServiceSpec
from gpumod.core.units import MIB
from gpumod.engines import llama_flags, pinning, programs
from gpumod.engines.args import flags

PROGRAM: Final = "llama-fit-params"
BOUND: Final = 20.0
"""Seconds. It takes half a second where the header is in the page cache."""
LIMITS: Final = (
    "it does not know the CUDA context and what pools grow to",
    "it reserves a whole batch of outputs, the server one row per slot",
    "it knows no projector (mmproj) and no drafting (--spec-type)",
    "weights that are repacked for the CPU are in none of its rows",
    "it rounds each number down to MiB",
)

_ROW: Final = re.compile(r"^([A-Za-z][\w-]*) (\d{1,9}) (\d{1,9}) (\d{1,9})\s*$")
_OF_THE_SERVER: Final = frozenset(
    {"--model", "--parallel", "--ctx-size", "--cache-type-k", "--cache-type-v", "--flash-attn",
     "--batch-size", "--ubatch-size", "--n-gpu-layers", "--device", "--split-mode", "--main-gpu",
     "--tensor-split", "--n-cpu-moe"}
)  # fmt: skip
"""What of the composed command line changes memory and is an option of every llama.cpp program."""
_OF_THE_USER: Final = frozenset(
    {"-ot", "--override-tensor", "--override-kv", "--swa-full", "-nkvo", "--no-kv-offload", "--rope-scaling",
     "--rope-scale", "--yarn-orig-ctx", "--no-op-offload", "--no-host"}
)  # fmt: skip


class LlamaOracle:
    """The port `Oracle` for llama.cpp.

    Args:
        user: whom engines run as, where that is not the daemon's own user.
    """

    def __init__(self, user: str | None = None) -> None:
        self._user = user

    async def ask(
        self, spec: ServiceSpec, build: EngineBuild, cards: tuple[CardId, ...], split: tuple[int, ...]
    ) -> OracleAnswer:
        """As the port says."""
        program = Path(build.path).with_name(PROGRAM)
        if "embedded" in build.traits or not program.is_file():
            return OracleAnswer(trouble=f"there is no {PROGRAM} beside {build.path}")
        argv = (str(program), *arguments(spec, build, cards, split), "--fit-print", "on")
        try:
            code, printed = await programs.output(
                argv, pinning.visible_by_uuid(cards), seconds=BOUND, user=self._user
            )
        except TimeoutError:
            return OracleAnswer(str(program), trouble=f"{PROGRAM} did not answer within {BOUND:g} s")
        except OSError as error:
            return OracleAnswer(str(program), trouble=f"{program} cannot be run: {error.strerror}")
        devices = parse(printed)
        if code != 0 or not devices:
            return OracleAnswer(str(program), trouble=_why(code, printed))
        return OracleAnswer(str(program), devices, limits=LIMITS)


def arguments(
    spec: ServiceSpec, build: EngineBuild, cards: tuple[CardId, ...], split: tuple[int, ...]
) -> tuple[str, ...]:
    """The server's own words as far as they change memory and every llama.cpp program knows them."""
    placement = llama_flags.Placement(cards or (HOST_CARD,), 1, split)
    pieces = llama_flags.pieces(spec, build, placement)
    composed = [word for piece in pieces if piece.words != spec.args for word in _known(piece.words)]
    return (*composed, *_users(spec))


def parse(printed: str) -> tuple[OracleDevice, ...]:
    """The table: a device per line with MiB of weights, context and compute buffers.

    Anything else that is printed, logs among it, is passed over.
    """
    found: dict[str, OracleDevice] = {}
    for line in printed.splitlines():
        match = _ROW.match(line)
        if match is not None:
            model, context, compute = (int(match[at]) * MIB for at in (2, 3, 4))
            found[match[1]] = OracleDevice(match[1], model, context, compute)
    return tuple(found.values())


def _known(words: tuple[str, ...]) -> Iterator[str]:
    for at, word in enumerate(words):
        if word in _OF_THE_SERVER:
            yield from words[at : at + 2]


def _users(spec: ServiceSpec) -> Iterator[str]:
    for given in flags(spec.args):
        if given.name in _OF_THE_USER:
            yield given.name
            if given.value is not None:
                yield given.value


def _why(code: int, printed: str) -> str:
    """Its last words that look like a reason."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    said = next((line for line in reversed(lines) if "error" in line.lower() or "failed" in line.lower()), "")
    reason = said or (lines[-1] if lines else "it printed nothing")
    return f"{PROGRAM} ended with code {code}: {reason[:300]}"
