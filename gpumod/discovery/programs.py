"""Engine programs on this box: where they are, and which builds."""

from __future__ import annotations

import asyncio
import glob
import mmap
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gpumod.core.names import PresetId, ServiceId
from gpumod.core.ports import EngineBuild
from gpumod.core.spec import EngineKind, ServiceSpec
from gpumod.engines import engines
from gpumod.hardware.probe import LocalHostProbe

if TYPE_CHECKING:
    from gpumod.config.settings import EnginePrograms

EMBEDDED: Final = "embedded"
_LLAMA: Final = (
    "~/llama.cpp/build*/bin",
    "~/*/llama.cpp/build*/bin",
    "~/.local/bin",
    "~/bin",
    "/usr/local/bin",
    "/usr/bin",
    "/opt/llama.cpp",
    "/opt/llama.cpp/bin",
    "/opt/llama.cpp/build*/bin",
    "/opt/*/bin",
    "/app",
    "/home/linuxbrew/.linuxbrew/bin",
)
_VLLM: Final = (
    "~/.local/bin",
    "~/{venv}/bin",
    "~/vllm*/bin",
    "~/vllm*/{venv}/bin",
    "~/*/{venv}/bin",
    "~/mini*/envs/*/bin",
    "~/anaconda3/envs/*/bin",
    "/usr/local/bin",
    "/opt/*/bin",
    "/opt/*/{venv}/bin",
)
_VENVS: Final = ("venv", ".venv")
_MOST: Final = 12
"""Programs of one name that are asked for their build."""
_CUDA_LIBRARIES: Final = ("libggml-cuda*", "ggml-cuda*")
_CUDA_NAMES: Final = (b"libcudart", b"libggml-cuda", b"ggml_cuda_init")


@dataclass(frozen=True, slots=True)
class Program:
    """An engine's program.

    Args:
        kind: which engine.
        name: how a preset or config.yaml names it: a path, or `embedded`.
        build: None where it could not be asked.
        problem: why not.
        cuda: whether it can use NVIDIA's cards, as far as its files tell; None where that was not looked at.
        configured: config.yaml names it.
        found: it is what its bare name means in PATH.
    """

    kind: EngineKind
    name: str
    build: EngineBuild | None = None
    problem: str = ""
    cuda: bool | None = None
    configured: bool = False
    found: bool = False


async def find_programs(chosen: EnginePrograms, env: Mapping[str, str]) -> tuple[Program, ...]:
    """Every engine program, asked for its build as the daemon would ask; the best of each kind first.

    Args:
        chosen: what config.yaml names.
        env: `PATH` and `HOME`.
    """
    host = LocalHostProbe()
    try:
        adapters = engines(host)
        wanted = [*_llama_names(chosen.llama_cpp, env), *_vllm_names(chosen.vllm, env)]

        async def asked(kind: EngineKind, name: str, configured: str | None) -> Program:
            build = await adapters[kind].build(_anything(kind, name))
            cuda = await asyncio.to_thread(_has_cuda, name) if kind is EngineKind.LLAMA_CPP else None
            bare = "llama-server" if kind is EngineKind.LLAMA_CPP else "vllm"
            known = isinstance(build, EngineBuild)
            return Program(
                kind,
                name,
                build if isinstance(build, EngineBuild) else None,
                "" if known else str(build),
                cuda,
                configured=name == configured,
                found=name == shutil.which(bare, path=env.get("PATH")),
            )

        return tuple(await asyncio.gather(*(asked(*one) for one in wanted)))
    finally:
        await host.close()


async def ask_program(kind: EngineKind, name: str) -> EngineBuild | str:
    """The build of one engine program, asked as the daemon would ask; or why it cannot be used.

    Args:
        kind: `llama.cpp` or `vllm`.
        name: a path, a name in PATH, or `embedded`.
    """
    host = LocalHostProbe()
    try:
        return await engines(host)[kind].build(_anything(kind, name))
    finally:
        await host.close()


def _anything(kind: EngineKind, name: str) -> ServiceSpec:
    """A service that is asked for by nobody: what has a program has a service."""
    return ServiceSpec(ServiceId("init"), PresetId("init"), kind, binary=name)


def best_program(programs: Iterable[Program], kind: EngineKind, *, nvidia: bool) -> Program | None:
    """The program for new presets. Pure.

    What config.yaml names; else one that can use the cards, then any before the embedded one,
    then what PATH means, then the newest.
    """
    usable = [one for one in programs if one.kind is kind and one.build is not None]
    return max(
        usable,
        key=lambda one: (
            one.configured,
            not nvidia or one.cuda is not False,
            one.name != EMBEDDED,
            one.found,
            _number(one.build.version if one.build else ""),
        ),
        default=None,
    )


def containers(env: Mapping[str, str]) -> tuple[str, ...]:
    """Paths of the programs that run containers."""
    found = (shutil.which(name, path=env.get("PATH")) for name in ("podman", "docker"))
    return tuple(path for path in found if path)


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _llama_names(
    configured: str | None, env: Mapping[str, str]
) -> Iterator[tuple[EngineKind, str, str | None]]:
    named = [configured] if configured else []
    embedded = [EMBEDDED] if find_spec("xllamacpp") else []
    found = _existing("llama-server", _LLAMA, env)
    for name in dict.fromkeys([*named, *found[:_MOST], *embedded]):
        yield EngineKind.LLAMA_CPP, name, configured


def _vllm_names(
    configured: str | None, env: Mapping[str, str]
) -> Iterator[tuple[EngineKind, str, str | None]]:
    named = [configured] if configured else []
    for name in dict.fromkeys([*named, *_existing("vllm", _VLLM, env)[:_MOST]]):
        yield EngineKind.VLLM, name, configured


def _existing(program: str, patterns: Iterable[str], env: Mapping[str, str]) -> list[str]:
    """Executable files of that name: PATH's own first, each file once."""
    home = env.get("HOME", "").rstrip("/")
    listed = [shutil.which(program, path=env.get("PATH"))]
    for pattern in patterns:
        if pattern.startswith("~") and not home:
            continue
        for venv in _VENVS if "{venv}" in pattern else ("",):
            place = pattern.replace("~", glob.escape(home), 1).replace("{venv}", venv)
            listed += sorted(glob.glob(f"{place}/{program}"))  # noqa: PTH207 - an absolute pattern
    seen: dict[str, str] = {}
    for path in listed:
        if path and os.access(path, os.X_OK) and Path(path).is_file():
            seen.setdefault(os.path.realpath(path), str(Path(path).absolute()))
    return list(seen.values())


def _has_cuda(name: str) -> bool:
    """Whether the program's files name CUDA: asking the program itself would open the cards."""
    if name == EMBEDDED:
        spec = find_spec("xllamacpp")
        folder = Path(spec.origin).parent if spec and spec.origin else None
        return folder is not None and (
            any(map(_names_cuda, folder.glob("*.so"))) or _library_in(folder.with_name("xllamacpp.libs"))
        )
    path = Path(name).resolve()
    beside = (
        path.parent,
        path.parent.parent / "lib",
        path.parent.parent / "lib64",
        Path("/usr/lib/llama.cpp"),
    )
    return any(map(_library_in, beside)) or _names_cuda(path)


def _library_in(folder: Path) -> bool:
    return any(True for pattern in _CUDA_LIBRARIES for _ in folder.glob(pattern))


def _names_cuda(path: Path) -> bool:
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return any(content.find(name) >= 0 for name in _CUDA_NAMES)
    except (OSError, ValueError):
        return False
