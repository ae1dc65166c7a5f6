"""Tells the service manager how the daemon is: ready, alive, stopping (sd_notify's protocol)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Notifier:
    """Datagrams to $NOTIFY_SOCKET; without one, every call does nothing.

    Source: sd_notify(3). The watchdog is fed from the event loop, so that a loop that hangs is
    noticed by the manager.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        environment = os.environ if environment is None else environment
        self._address = environment.get("NOTIFY_SOCKET", "")
        usec = environment.get("WATCHDOG_USEC", "")
        pid = environment.get("WATCHDOG_PID", str(os.getpid()))
        mine = usec.isdigit() and pid == str(os.getpid())
        self.watchdog_seconds: float | None = int(usec) / 1e6 if mine and int(usec) else None

    def send(self, *lines: str) -> None:
        """Send assignments such as `READY=1`; a manager that does not listen is no error."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel,
        ):
            channel.sendto("\n".join(lines).encode(), address)

    async def feed_watchdog(self) -> None:
        """Say that the event loop turns, three times per watchdog interval, for ever."""
        if self.watchdog_seconds is None:
            return
        while True:
            self.send("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_seconds / 3)
