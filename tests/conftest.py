"""Leak checks after every test, and the list of skips that a complete run may have.

A test fails that leaves asyncio tasks, threads, child processes (grandchildren and orphans included) or file
descriptors behind. What it left is killed, so the next test starts clean.

With `GPUMOD_ALLOWED_SKIPS=FILE` a skip that no line of FILE allows is a failure: a complete run cannot
quietly become an incomplete one. Each line is a glob over test ids, blanks, and the reason.
"""

import asyncio
import contextlib
import ctypes
import fnmatch
import gc
import os
import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import settings

_PR_SET_CHILD_SUBREAPER = 36
# Seconds that something may take to disappear by itself after its owner said goodbye to it. Only a leak
# takes all of them.
_GRACE = 30.0
# Without deadlines: how long an example takes is the machine's matter.
settings.register_profile("moderate", max_examples=50, deadline=None)
settings.register_profile("thorough", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("GPUMOD_HYPOTHESIS", "moderate"))
_before = pytest.StashKey["Snapshot"]()
_left_at_the_end = pytest.StashKey[list[str]]()


@dataclass(frozen=True)
class Snapshot:
    """What this process holds that a test could leak."""

    threads: frozenset[threading.Thread]
    children: frozenset[int]
    fds: frozenset[tuple[int, str]]


@dataclass(frozen=True)
class AllowedSkip:
    """A line of the list of skips: which tests may be skipped, and why."""

    tests: str
    reason: str


def _children() -> frozenset[int]:
    """Direct children; an orphan of a descendant is one too, since this process is a subreaper."""
    found: set[int] = set()
    for tid in os.listdir("/proc/self/task"):
        # The thread may have ended meanwhile.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found.update(map(int, Path(f"/proc/self/task/{tid}/children").read_bytes().split()))
    return frozenset(found)


def _children_without_proc_children() -> frozenset[int]:
    return frozenset(child.pid for child in psutil.Process().children())


if not Path("/proc/thread-self/children").exists():  # the kernel has no CONFIG_PROC_CHILDREN
    _children = _children_without_proc_children


def _fds() -> frozenset[tuple[int, str]]:
    found: set[tuple[int, str]] = set()
    for fd in map(int, os.listdir("/proc/self/fd")):
        # pytest's capturing switches the standard streams back and forth.
        if fd > 2:
            with contextlib.suppress(FileNotFoundError):  # the descriptor of this very listing
                found.add((fd, os.readlink(f"/proc/self/fd/{fd}")))
    return frozenset(found)


def _snapshot() -> Snapshot:
    return Snapshot(frozenset(threading.enumerate()), _children(), _fds())


def _reap(pid: int) -> bool:
    """Whether the child is gone; a zombie that nobody waited for is collected on the way."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def _kill_tree(pid: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in (*psutil.Process(pid).children(recursive=True), psutil.Process(pid)):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
    # Killed descendants become children of this process and are collected here as well.
    deadline = time.monotonic() + 30
    while not _reap(pid) and time.monotonic() < deadline:
        time.sleep(0.005)


def _describe(pid: int) -> str:
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        return f"process {pid}: {' '.join(process.cmdline()) or process.name()}"
    return f"process {pid}"


def _left(before: Snapshot) -> tuple[set[threading.Thread], set[int], set[tuple[int, str]]]:
    now = _snapshot()
    threads = {thread for thread in now.threads - before.threads if thread.is_alive()}
    children = {pid for pid in now.children - before.children if not _reap(pid)}
    return threads, children, set(now.fds - before.fds)


def _leaks(before: Snapshot, *, processes: bool = True) -> list[str]:
    """Everything left since `before`, in words; processes among it are killed."""
    if not processes:
        before = replace(before, children=_children())
    left = _left(before)
    if any(left):
        gc.collect()
        deadline = time.monotonic() + _GRACE
        while any(left := _left(before)) and time.monotonic() < deadline:
            time.sleep(0.01)
    threads, children, fds = left
    found = [f"thread {thread.name}" for thread in threads]
    found += [_describe(pid) for pid in children]
    found += [f"file descriptor {fd}: {target}" for fd, target in fds]
    while children:
        for pid in children:
            _kill_tree(pid)
        children = _left(before)[1]  # orphans of those just killed
    return sorted(found)


class TaskLeaks:
    """Notes the tasks that an event loop of the main thread still has when its runner closes it.

    pytest-asyncio closes a test's loop after the fixtures on it are torn down, and the runner then cancels
    what is left without a word.
    """

    def __init__(self) -> None:
        self.found: list[str] = []
        self._cancel_all = asyncio.runners._cancel_all_tasks  # type: ignore[attr-defined]

    def install(self) -> None:
        asyncio.runners._cancel_all_tasks = self._note_and_cancel  # type: ignore[attr-defined]

    def remove(self) -> None:
        asyncio.runners._cancel_all_tasks = self._cancel_all  # type: ignore[attr-defined]

    def take(self) -> list[str]:
        found, self.found = self.found, []
        return found

    def _note_and_cancel(self, loop: asyncio.AbstractEventLoop) -> None:
        if threading.current_thread() is threading.main_thread():
            self.found += [f"task {task.get_name()}: {task.get_coro()}" for task in asyncio.all_tasks(loop)]
        self._cancel_all(loop)


_tasks = TaskLeaks()


@pytest.fixture(autouse=True)
def _leak_baseline(request: pytest.FixtureRequest) -> None:
    """Taken in a fixture, not in a hook: fixtures of wider scope have been set up by now and may stay."""
    request.node.stash[_before] = _snapshot()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    try:
        yield
    finally:
        # In a hook, not in the fixture: pytest-asyncio closes its loop after that is torn down.
        before = item.stash.get(_before, None)
        if before is not None:
            del item.stash[_before]
            # Processes of a box that several tests share come and go; the session's end looks for them.
            processes = item.get_closest_marker("shared_processes") is None
            if leaks := _tasks.take() + _leaks(before, processes=processes):
                pytest.fail("the test leaked\n  " + "\n  ".join(leaks), pytrace=False)


class SkipCheck:
    """Turns every skip that is not on the list into a failure."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._allowed = list(self._read(path))
        self._collecting: list[str] = []

    @staticmethod
    def _read(path: Path) -> Iterator[AllowedSkip]:
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            if not line.strip() or line.startswith("#"):
                continue
            tests, _, reason = line.strip().partition(" ")
            if not reason.strip():
                raise pytest.UsageError(f"{path}:{number}: a skip needs a reason: {line}")
            yield AllowedSkip(tests, reason.strip())

    def _complaint(self, report: pytest.TestReport | pytest.CollectReport) -> str | None:
        if not report.skipped or hasattr(report, "wasxfail"):
            return None
        test = report.nodeid
        # Not fnmatch alone: a literal id may hold the brackets of its parameters.
        if any(
            test == allowed.tests or fnmatch.fnmatchcase(test, allowed.tests) for allowed in self._allowed
        ):
            return None
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        return f"{test} was skipped and is not on the list {self._path}: {reason}"

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if complaint := self._complaint(report):
            report.outcome = "failed"
            report.longrepr = complaint
        return report

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if complaint := self._complaint(report):
            self._collecting.append(complaint)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._collecting and session.exitstatus in (
            pytest.ExitCode.OK,
            pytest.ExitCode.NO_TESTS_COLLECTED,
        ):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._collecting:
            terminalreporter.section("skips that are not allowed", red=True)
            for complaint in self._collecting:
                terminalreporter.line(complaint)


def pytest_configure(config: pytest.Config) -> None:
    # An orphan then becomes a child of this process instead of vanishing from sight.
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    _tasks.install()
    if path := os.environ.get("GPUMOD_ALLOWED_SKIPS"):
        config.pluginmanager.register(SkipCheck(Path(path)))


def pytest_unconfigure() -> None:
    _tasks.remove()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A fixture of wider scope may have left a process after the last test of its scope."""
    found = session.config.stash.setdefault(_left_at_the_end, [])
    if left := [pid for pid in _children() if not _reap(pid)]:
        found += [_describe(pid) for pid in left]
        for pid in left:
            _kill_tree(pid)
    if hasattr(session.config, "workeroutput"):  # in a worker of pytest-xdist
        session.config.workeroutput["left"] = found
    if found and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """What a worker of pytest-xdist found at its end; one that has crashed tells nothing."""
    told = getattr(node, "workeroutput", {}).get("left", [])
    node.config.stash.setdefault(_left_at_the_end, []).extend(told)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if left := config.stash.get(_left_at_the_end, []):
        terminalreporter.section("left by fixtures of wider scope", red=True)
        for process in left:
            terminalreporter.line(process)
