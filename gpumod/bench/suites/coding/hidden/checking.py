"""What hidden tests share."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

PATIENCE = 6.0
"""Seconds after which something that should have happened has not."""


@contextlib.contextmanager
def raises(kind: type[BaseException]) -> Iterator[list[BaseException]]:
    """The block has to raise this; the list then has it."""
    caught: list[BaseException] = []
    try:
        yield caught
    except kind as error:
        caught.append(error)
        return
    raise AssertionError(f"{kind.__name__} was not raised")


class Background:
    """A call in a thread of its own."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self.result: Any = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.result = self._call()
        except BaseException as error:
            self.error = error

    @property
    def running(self) -> bool:
        """Whether it still does."""
        return self._thread.is_alive()

    def end(self) -> Any:
        """Its result; what it raised is raised, and it has to end in time."""
        self._thread.join(PATIENCE)
        assert not self.running, "a call did not return"
        if self.error is not None:
            raise self.error
        return self.result


def together(*calls: Callable[[], Any]) -> list[Any]:
    """Make the calls at once, and wait for all."""
    gate = threading.Barrier(len(calls))

    def one(call: Callable[[], Any]) -> Any:
        gate.wait(PATIENCE)
        return call()

    threads = [Background(lambda call=call: one(call)) for call in calls]  # type: ignore[misc]
    return [thread.end() for thread in threads]


def until(true: Callable[[], bool]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "what should have happened did not"
        time.sleep(0.002)


def a_moment() -> None:
    """Let another thread reach the call in which it has to wait; a shorter time only makes a test weaker."""
    time.sleep(0.1)
