"""Whether this box can have a sandbox, found out by trying it."""

from __future__ import annotations

import asyncio
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from gpumod.bench.sandbox.command import Interpreter
from gpumod.bench.sandbox.execution import Ended, Execution, Limits, NoSandboxError, SandboxFailedError
from gpumod.bench.sandbox.process import Sandbox
from gpumod.bench.sandbox.syscalls import MACHINES

_OLDEST: Final = (0, 8)
"""The first bubblewrap that can forbid further user namespaces, in which limits could be shaken off."""
_OLDEST_PYTHON: Final = (3, 11)
_SYSTEM_PYTHONS: Final = (
    "/usr/bin/python3",
    "/usr/local/bin/python3",
    "/usr/bin/python3.13",
    "/usr/bin/python3.12",
)
_SWITCHES: Final[Mapping[str, str]] = {
    "kernel/apparmor_restrict_unprivileged_userns": "1",
    "kernel/unprivileged_userns_clone": "0",
    "user/max_user_namespaces": "0",
}
"""Settings of the kernel, and the value with which unprivileged user namespaces are not allowed."""
_TRIAL: Final = """
import os, platform, socket
names = [name for _, name in socket.if_nameindex()]
assert names == ["lo"], names
assert os.getuid() == 1000 and os.getppid() == 1, (os.getuid(), os.getppid())
assert not os.path.exists("/etc/passwd") and not os.path.exists("/home")
print(platform.python_version())
"""


async def open_sandbox(
    environment: Mapping[str, str] = os.environ, settings: Path = Path("/proc/sys")
) -> Sandbox:
    """The sandbox of this box, after a first program has run in it.

    Args:
        environment: for PATH.
        settings: the kernel's.

    Raises:
        NoSandboxError: it cannot be; the detail says why.
    """
    machine = MACHINES.get(platform.machine())
    if machine is None:
        known = " and ".join(MACHINES)
        raise _refused(f"its system calls are known for {known}, not for {platform.machine()}")
    program = shutil.which("bwrap", path=environment.get("PATH", "") + os.pathsep + "/usr/bin")
    if program is None:
        raise _refused("bubblewrap is not installed (Debian and Ubuntu: apt-get install bubblewrap)")
    version = await _version(program)
    if version < _OLDEST:
        found = ".".join(map(str, version))
        raise _refused(f"{program} is version {found}, and 0.8 or newer is needed")
    reasons = []
    for interpreter in _interpreters():
        try:
            execution = await Sandbox(program, interpreter, machine).run(
                (interpreter.path, "-I", "-S", "-B", "-c", _TRIAL), limits=Limits(wall=20)
            )
        except SandboxFailedError as error:
            reasons.append(f"{interpreter.path}: {error.detail}")
            continue
        found = execution.output.strip()
        if fault := _fault(execution):
            reasons.append(f"{interpreter.path}: {fault}")
        else:
            return Sandbox(program, interpreter, machine, found)
    raise _refused("; ".join(reasons + _forbidden(settings)))


def _refused(reason: str) -> NoSandboxError:
    sentence = f"programs that a model wrote are not run without a sandbox, and there is none here: {reason}"
    return NoSandboxError(sentence, {"reasons": [reason]})


def _fault(execution: Execution) -> str:
    if execution.ended is not Ended.EXITED or execution.status != 0:
        return f"the trial ended with {execution.ended} {execution.status}: {execution.errors.strip()[-300:]}"
    numbers = re.findall(r"\d+", execution.output)
    if tuple(map(int, numbers[:2])) < _OLDEST_PYTHON:
        return f"it is Python {execution.output.strip()}, and 3.11 or newer is needed"
    return ""


def _forbidden(settings: Path) -> list[str]:
    """Which of the kernel's settings forbid it."""
    found = []
    for name, value in _SWITCHES.items():
        path = settings / name
        if path.exists() and path.read_text("ascii").strip() == value:
            found.append(f"{path} is {value}, which forbids user namespaces to unprivileged users")
    return found


async def _version(program: str) -> tuple[int, ...]:
    process = await asyncio.create_subprocess_exec(
        program, "--version", stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, env={}
    )
    output, _ = await process.communicate()
    return tuple(map(int, re.findall(rb"\d+", output)[:2]))


def _interpreters() -> Iterator[Interpreter]:
    """This program's own Python, then the system's: the own one may be where only this user may read."""
    prefix = Path(sys.base_prefix).resolve()
    own = prefix / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    if own.exists():
        yield Interpreter(str(own), None if prefix.is_relative_to("/usr") else str(prefix))
    for path in _SYSTEM_PYTHONS:
        if Path(path).exists() and path != str(own):
            yield Interpreter(path)
