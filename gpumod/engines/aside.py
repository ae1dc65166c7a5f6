"""Looks at files aside from the event loop, and not for ever: a file server may not answer."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

T = TypeVar("T")

ANSWER: Final = 5.0
"""Seconds for a look at a program or a folder."""

_since: dict[str, float] = {}
"""When the oldest look at each place began that is still under way."""


async def aside(place: str, look: Callable[[], T], bound: float = ANSWER) -> T:
    """What a look at a place finds.

    It runs in a thread of its own: one that hangs is left behind, and takes no thread from anybody. A place
    at which a look hangs is not looked at again until that one has come back.

    Raises:
        TimeoutError: it did not come back within `bound` seconds.
    """
    if time.monotonic() - _since.get(place, float("inf")) > bound:
        raise TimeoutError
    loop = asyncio.get_running_loop()
    found: asyncio.Future[T] = loop.create_future()

    def work() -> None:
        _since.setdefault(place, time.monotonic())
        tell: Callable[[], None]
        try:
            tell = partial(found.set_result, look())
        except BaseException as error:  # noqa: BLE001 - it is the caller's, who waits in the loop
            tell = partial(found.set_exception, error)
        _since.pop(place, None)
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(lambda: None if found.done() else tell())

    threading.Thread(target=work, name=f"look at {place}", daemon=True).start()
    async with asyncio.timeout(bound):
        return await found
