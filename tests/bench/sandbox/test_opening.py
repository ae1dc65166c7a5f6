"""Where there is no sandbox nothing is run, and the reason is said."""

import asyncio
import os
import platform
import shutil
import sys
from pathlib import Path

import pytest

import gpumod
from gpumod.bench.sandbox import NoSandboxError, open_sandbox
from gpumod.core.errors import ErrorCode
from tests.bench.sandbox.conftest import running

SCRIPT = """
import asyncio, os
from gpumod.bench.sandbox import open_sandbox
async def main():
    sandbox = await open_sandbox()
    execution = await sandbox.run((*sandbox.python, "-c", "import os; print(os.getuid())"))
    print(os.getuid(), execution.output.strip(), execution.ended)
asyncio.run(main())
"""


def program(directory: Path, text: str) -> dict[str, str]:
    """A PATH in which bubblewrap is a script."""
    path = directory / "bwrap"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    open_to_all(directory)
    return {"PATH": str(directory)}


def open_to_all(directory: Path) -> None:
    """Pytest's temporary directories are for one user."""
    for place in (directory, *directory.parents):
        if place.stat().st_uid == os.geteuid() and place.stat().st_mode & 0o077 == 0:
            place.chmod(0o755)


async def test_without_bubblewrap_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name, path: None)
    with pytest.raises(NoSandboxError, match="apt-get install bubblewrap") as caught:
        await open_sandbox()
    assert caught.value.code is ErrorCode.REFUSED
    assert caught.value.facts["reasons"]


async def test_an_old_bubblewrap_is_refused(tmp_path):
    with pytest.raises(NoSandboxError, match=r"version 0\.6, and 0\.8 or newer is needed"):
        await open_sandbox(program(tmp_path, "echo bubblewrap 0.6.1"))


async def test_a_kernel_that_forbids_namespaces_is_named(tmp_path):
    """With bubblewrap's own words, and the setting that is to blame."""
    environment = program(
        tmp_path,
        '[ "$1" = --version ] && echo bubblewrap 0.9.0 && exit\n'
        "echo 'bwrap: setting up uid map: Permission denied' >&2; exit 1",
    )
    (tmp_path / "kernel").mkdir()
    (tmp_path / "kernel/apparmor_restrict_unprivileged_userns").write_text("1\n")
    with pytest.raises(NoSandboxError) as caught:
        await open_sandbox(environment, tmp_path)
    assert "setting up uid map: Permission denied" in caught.value.detail
    assert "apparmor_restrict_unprivileged_userns is 1" in caught.value.detail


async def test_a_bubblewrap_that_isolates_nothing_is_refused(tmp_path):
    """It runs the command as it is: the first process then is not alone."""
    text = """[ "$1" = --version ] && echo bubblewrap 0.9.0 && exit
while [ "$1" != -- ]; do shift; done; shift; exec "$@" """
    with pytest.raises(NoSandboxError, match="the sandbox failed"):
        await open_sandbox(program(tmp_path, text))


async def test_an_unknown_machine_is_refused(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(NoSandboxError, match="not for riscv64"):
        await open_sandbox()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become an ordinary user")
async def test_it_works_for_an_ordinary_user(sandbox, tmp_path):
    package = Path(gpumod.__file__).parent
    for name in ("core", "bench/sandbox"):
        shutil.copytree(package / name, tmp_path / "gpumod" / name)
    for name in ("", "bench"):
        shutil.copy(package / name / "__init__.py", tmp_path / "gpumod" / name)
    open_to_all(tmp_path)
    process = await asyncio.create_subprocess_exec(
        *(sandbox.interpreter.path, "-B", "-c", SCRIPT),
        cwd=tmp_path,
        env={"PATH": "/usr/bin"},
        user=4242,
        group=4242,
        extra_groups=(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert output == b"4242 1000 exited\n", errors.decode()


async def test_it_dies_with_the_program_that_started_it(sandbox, marker):
    """Also when that is killed, and has no time to clean up."""
    script = f"""
import asyncio
from gpumod.bench.sandbox import open_sandbox
async def main():
    sandbox = await open_sandbox()
    await sandbox.run((*sandbox.python, "-c", "'{marker}'; import time; time.sleep(600)"))
asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script)
    async with asyncio.timeout(60):
        await until(lambda: any(line.split()[0] != str(process.pid) for line in running(marker)))
        process.kill()
        await process.wait()
        await until(lambda: not running(marker))


async def until(true):
    while not true():  # noqa: ASYNC110 - processes in another namespace give no event
        await asyncio.sleep(0.05)
