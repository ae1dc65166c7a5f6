"""Runs hidden tests inside the sandbox: each in a process of its own, so none can spoil another.

Called with the module of the tests, seconds per test, and the names of modules that the task gives. The file
`word` holds what begins every line of the report. The report goes to standard output, a line of JSON per test
as soon as it is known; what the solution prints goes nowhere. Before it is run, the solution is looked
through (`gate`), and what a test says of it counts only with a word to which the solution has no way.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import os
import secrets
import select
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from types import ModuleType
from typing import Any

_LONGEST = 600


def tests_of(module: ModuleType) -> list[str]:
    """The names of its tests, in the order in which they are written."""
    return [name for name in vars(module) if name.startswith("test_")]


def check(name: str, tests: ModuleType, report: int, word: bytes) -> None:
    """Run one test, in the process that is only for it."""
    with open(os.devnull, "r+b") as null:  # noqa: PTH123 - a descriptor is wanted
        for descriptor in (0, 1, 2):
            os.dup2(null.fileno(), descriptor)
    copy_names_only()
    try:
        solution = importlib.import_module("solution")
        getattr(tests, name)(solution)
        said: dict[str, Any] = {"passed": True}
    except BaseException as error:
        said = {"passed": False, "why": explained(error)}
    os.write(report, word + json.dumps(said).encode())


def copy_names_only() -> None:
    """Have `functools.wraps` copy names and documentation, and no other attribute of the tests' functions."""
    update = functools.update_wrapper

    def names_only(wrapper: Any, wrapped: Any, *more: object, **others: object) -> Any:
        del more, others
        return update(wrapper, wrapped)

    functools.update_wrapper = names_only


def explained(error: BaseException) -> str:
    """Which line of the test or the solution it was, and what."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{frames[-1].name}: {frames[-1].line}" if frames else ""
    return f"{type(error).__name__}: {error} ({where})"[:_LONGEST]


def run(name: str, tests: ModuleType, seconds: float) -> dict[str, Any]:
    """Run one test in a child; one that does not end fails."""
    word = secrets.token_bytes(16)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setpgid(0, 0)
            os.close(reading)
            check(name, tests, writing, word)
        finally:
            os._exit(0)
    os.close(writing)
    end = time.monotonic() + seconds
    told = b""
    # A child of the child may hold the pipe open, so its end is not waited for: an answer is written at once.
    if select.select([reading], [], [], max(0.0, end - time.monotonic()))[0]:
        told = os.read(reading, 4096)
    os.close(reading)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    if told.startswith(word):
        answer: dict[str, Any] = json.loads(told[len(word) :])
        return answer
    if told:
        return {"passed": False, "why": "it wrote the report itself"}
    late = time.monotonic() >= end
    return {"passed": False, "why": f"not over after {seconds:g} s" if late else "it ended the process"}


def main(tests: str, seconds: float, given: Sequence[str]) -> None:
    """Check the syntax and what is used, then run every test."""
    with open("word", encoding="ascii") as file:  # noqa: PTH123 - pathlib is not needed for this
        word = file.read()
    os.unlink("word")  # noqa: PTH108 - as above

    def tell(**said: object) -> None:
        sys.stdout.write(f"{word} {json.dumps(said)}\n")
        sys.stdout.flush()

    with open("solution.py", "rb") as written:  # noqa: PTH123 - as it was written, whatever it is
        source = written.read()
    try:
        compile(source, "solution.py", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        tell(syntax=f"{type(error).__name__}: {error}"[:_LONGEST])
        return
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - pathlib is not needed for this
    if against := importlib.import_module(f"{tests.rpartition('.')[0]}.gate").complaint(source, given):
        tell(refused=against)
        return
    module = importlib.import_module(tests)
    for name in tests_of(module):
        tell(test=name, **run(name, module, seconds))
    tell(over=True)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), sys.argv[3:])
