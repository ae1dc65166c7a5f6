"""What hidden tests share.

It holds on to the threads and clocks of Python itself: a solution that puts others into `threading` or
`time` changes what it uses itself, and nothing here.
"""

from __future__ import annotations

from _thread import allocate_lock, start_new_thread
from collections.abc import Callable
from time import sleep
from typing import Any

PATIENCE = 6.0
"""Seconds after which something that should have happened has not."""
_BASES: tuple[Any, ...] = (bool, int, float, str, bytes, tuple, list, dict, set)


def same(found: Any, expected: Any) -> bool:
    """Whether they are equal, and not because the found one says that it equals everything."""
    if isinstance(expected, int | float) and type(found) in (int, float, bool):
        return bool(found == expected)
    base: Any = next((one for one in _BASES if type(expected) is one), None)
    if base is None:
        return found is expected or (type(found) is type(expected) and bool(found == expected))
    if not issubclass(type(found), base):
        return False
    if base is tuple or base is list:
        items = list(base.__iter__(found))
        return len(items) == len(expected) and all(map(same, items, expected))
    if base is dict:
        values = dict(dict.items(found))
        return values.keys() == expected.keys() and all(same(values[key], expected[key]) for key in expected)
    return bool(base.__eq__(found, expected) is True)


class raises:  # noqa: N801 - as such a thing is called in tests
    """The block has to raise this; the list then has it."""

    def __init__(self, kind: type[BaseException]) -> None:
        self._kind = kind
        self._caught: list[BaseException] = []

    def __enter__(self) -> list[BaseException]:
        return self._caught

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        assert error is not None, f"{self._kind.__name__} was not raised"
        self._caught.append(error)
        return self._kind in type(error).__mro__


class Event:
    """Something that happens once."""

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._lock.acquire()

    def set(self) -> None:
        """It has happened."""
        try:  # noqa: SIM105 - nothing of what a solution could change is used
            self._lock.release()
        except RuntimeError:
            pass  # it had happened already

    def is_set(self) -> bool:
        """Whether it has."""
        return not self._lock.locked()

    def wait(self, seconds: float) -> bool:
        """Wait for it; whether it has happened."""
        if not self._lock.acquire(timeout=seconds):
            return False
        self.set()
        return True


class Barrier:
    """Lets nobody go on before all are there."""

    def __init__(self, parties: int) -> None:
        self._left = parties
        self._lock = allocate_lock()
        self._open = Event()

    def wait(self) -> bool:
        """Whether all came in time."""
        with self._lock:
            self._left -= 1
            if self._left <= 0:
                self._open.set()
        return self._open.wait(PATIENCE)


class Background:
    """A call in a thread of its own."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._over = Event()
        self.result: Any = None
        self.error: BaseException | None = None
        start_new_thread(self._run, ())

    def _run(self) -> None:
        try:
            self.result = self._call()
        except BaseException as error:
            self.error = error
        finally:
            self._over.set()

    @property
    def running(self) -> bool:
        """Whether it still does."""
        return not self._over.is_set()

    def end(self) -> Any:
        """Its result; what it raised is raised, and it has to end in time."""
        assert self._over.wait(PATIENCE), "a call did not return"
        if self.error is not None:
            raise self.error
        return self.result


def together(*calls: Callable[[], Any]) -> list[Any]:
    """Make the calls at once, and wait for all."""
    gate = Barrier(len(calls))

    def one(call: Callable[[], Any]) -> Any:
        assert gate.wait()
        return call()

    threads = [Background(lambda call=call: one(call)) for call in calls]  # type: ignore[misc]
    return [thread.end() for thread in threads]


def a_moment() -> None:
    """Let another thread reach the call in which it has to wait; a shorter time only makes a test weaker."""
    sleep(0.1)
