"""Finds an engine's program and asks it what it is, once per file identity and never for long."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

from gpumod.core.ports import EngineBuild
from gpumod.core.service import FileIdentity
from gpumod.engines.aside import ANSWER, aside
from gpumod.engines.environment import inherited
from gpumod.engines.identity import identity

ASK: Final = 10.0
"""Seconds for one question to a program. `--version` takes milliseconds; a busy machine takes longer."""

_OUTPUT_LIMIT: Final = 1024 * 1024
_OPTION: Final = re.compile(r"--?[A-Za-z][\w.-]*")
_VALUE: Final = re.compile(r"[ =][^\s,]+,\s+(?=-)")


def locate(program: str) -> FileIdentity | str:
    """The program's file, or a sentence that says why it cannot be run."""
    if "/" in program:
        path = Path(program).expanduser()
    else:
        found = shutil.which(program)
        if found is None:
            return f"{program} is not in PATH: install it, or give its path as `binary:`"
        path = Path(found)
    try:
        seen = path.stat()
    except OSError as error:
        return f"{path}: {error.strerror}"
    if not path.is_file():
        return f"{path} is not a file"
    if not os.access(path, os.X_OK):
        return f"{path} is not executable: chmod +x it"
    return FileIdentity(str(path), seen.st_size, seen.st_mtime_ns, seen.st_ino)


async def located(program: str) -> FileIdentity | str:
    """The same, bounded: a program may lie on a file server that does not answer."""
    try:
        return await aside(program, lambda: locate(program))
    except TimeoutError:
        return f"{program}: its file system does not answer within {ANSWER:g} s"


async def output(
    argv: tuple[str, ...],
    env: Mapping[str, str] | None = None,
    seconds: float = ASK,
    user: str | None = None,
) -> tuple[int, str]:
    """Run a program to its end and return its code and what it printed on both streams.

    Args:
        argv: the program and its arguments.
        env: on top of the daemon's environment, or of what that user's engines have.
        seconds: how long it may take.
        user: whom it runs as; None is the daemon's own user.

    Raises:
        TimeoutError: it did not end in time; it was killed.
        OSError: it cannot be executed; as another user it ends with 127 instead.
    """
    become = identity(user)
    process = await asyncio.create_subprocess_exec(
        *become,
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**(inherited(user) if become else os.environ), **(env or {})},
        cwd="/" if become else None,
        start_new_session=True,
        limit=_OUTPUT_LIMIT,
    )
    try:
        async with asyncio.timeout(seconds):
            printed, _ = await process.communicate()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return process.returncode or 0, printed.decode(errors="replace")


async def run_command(argv: tuple[str, ...], seconds: float, user: str | None = None) -> str:
    """Run a stop command for at most so long; answers why it failed, or nothing."""
    try:
        code, printed = await output(argv, seconds=seconds, user=user)
    except TimeoutError:
        return f"{argv[0]} did not end within {seconds:g} s"
    except OSError as error:
        return f"{argv[0]} cannot be run: {error.strerror}"
    last = (printed.strip().splitlines() or ["it printed nothing"])[-1][:300]
    return "" if code == 0 else f"{argv[0]} ended with code {code}: {last}"


def options(help_text: str) -> frozenset[str]:
    """Every option, short or long, that starts an entry of a help text (llama.cpp's or argparse's layout)."""
    found: set[str] = set()
    for line in help_text.splitlines():
        rest = line.strip() if len(line) - len(line.lstrip()) <= 4 else ""
        while option := _OPTION.match(rest):
            found.add(option[0])
            rest = rest[option.end() :]
            value = _VALUE.match(rest)
            rest = rest[value.end() :] if value else rest.lstrip(", ")
    return frozenset(found)


class Builds:
    """Remembers what programs said, by file identity: a new file is asked again."""

    def __init__(self, ask: Callable[[FileIdentity], Awaitable[EngineBuild | str]]) -> None:
        self._ask = ask
        self._known: dict[FileIdentity, EngineBuild] = {}
        self._asking: dict[FileIdentity, asyncio.Lock] = {}

    async def of(self, program: str) -> EngineBuild | str:
        """The build behind a path or name, or why it cannot be used."""
        identity = await located(program)
        if isinstance(identity, str):
            return identity
        async with self._asking.setdefault(identity, asyncio.Lock()):
            if identity not in self._known:
                answer = await self._ask(identity)
                if isinstance(answer, str):
                    return answer
                self._known[identity] = answer
        return self._known[identity]
