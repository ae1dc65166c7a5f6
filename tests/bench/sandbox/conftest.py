import os
import subprocess

import pytest

from gpumod.bench.sandbox import Limits, NoSandboxError, Sandbox, open_sandbox

MiB = 1024 * 1024


@pytest.fixture
async def sandbox():
    """The box's sandbox; with the reason where there is none."""
    try:
        return await open_sandbox()
    except NoSandboxError as error:
        pytest.skip(error.detail)


@pytest.fixture
def attack(sandbox: Sandbox):
    """Runs Python in the sandbox."""

    async def run(code: str, **limits):
        return await sandbox.run(
            (*sandbox.python, "attack.py"), {"attack.py": code}, Limits(**{"wall": 20, **limits})
        )

    return run


@pytest.fixture
def marker():
    """A word for a command line, to find what was left running; nothing must be, when the test ends."""
    word = f"marker-{os.getpid()}-{os.urandom(4).hex()}"
    yield word
    assert running(word) == []


def running(word: str) -> list[str]:
    """The processes of this box that have the word in their command line."""
    lines = subprocess.run(["ps", "-eo", "pid,stat,args"], capture_output=True, text=True, check=True).stdout
    return [line for line in lines.splitlines() if word in line and "ps -eo" not in line]
