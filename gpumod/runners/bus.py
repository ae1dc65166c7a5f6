"""A connection to a systemd manager that comes back when it drops."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from typing import TYPE_CHECKING, Any

from dbus_fast import Message, MessageType, Variant
from dbus_fast.aio import MessageBus
from dbus_fast.errors import DBusError

from gpumod.core.errors import GpumodError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_log = logging.getLogger(__name__)

SYSTEMD = "org.freedesktop.systemd1"
_MANAGER_PATH = "/org/freedesktop/systemd1"
_MANAGER = "org.freedesktop.systemd1.Manager"
_PROPERTIES = "org.freedesktop.DBus.Properties"
_DBUS = "org.freedesktop.DBus"
_CALL_SECONDS = 10.0
_PAUSES = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
_DROPPED = (OSError, EOFError, DBusError)


class ManagerError(GpumodError):
    """Systemd does not answer, or answers with an error; `name` is D-Bus's name of it."""

    def __init__(self, detail: str, name: str = "") -> None:
        super().__init__(detail, {"error": name})
        self.name = name


def bus_address(manager: str) -> str:
    """Where the bus of a manager is: `system`, or this user's own."""
    if manager == "system":
        return os.environ.get("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/run/dbus/system_bus_socket")
    runtime = os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.geteuid()}")
    return os.environ.get("DBUS_SESSION_BUS_ADDRESS", f"unix:path={runtime}/bus")


class ManagerBus:
    """Calls a manager, waits for its jobs, and tells of changed units.

    Args:
        address: the bus's address.
        on_change: called with the object path of a watched unit that changed.
        on_reconnect: called when the connection is back; changes may have been missed.
    """

    def __init__(
        self,
        address: str,
        on_change: Callable[[str], None] = lambda _path: None,
        on_reconnect: Callable[[], None] = lambda: None,
    ) -> None:
        self._address = address
        self._on_change = on_change
        self._on_reconnect = on_reconnect
        self._bus: MessageBus | None = None
        self._connecting = asyncio.Lock()
        self._upkeep: asyncio.Task[None] | None = None
        self._watched: set[str] = set()
        self._jobs: dict[str, asyncio.Future[str]] = {}
        self._early: dict[str, str] = {}
        self._calling_job = 0
        self._closed = asyncio.Event()

    async def call(
        self,
        member: str,
        signature: str = "",
        *body: object,
        path: str = _MANAGER_PATH,
        interface: str = _MANAGER,
    ) -> list[Any]:
        """Call a method of the manager, or of another of its objects.

        Raises:
            ManagerError: it does not answer or refuses.
        """
        bus = await self._connected()
        return await self._send(bus, SYSTEMD, path, interface, member, signature, body)

    async def properties(self, path: str) -> dict[str, Any]:
        """All properties of a unit, of all its interfaces together."""
        found: dict[str, Variant] = (await self.call("GetAll", "s", "", path=path, interface=_PROPERTIES))[0]
        return {name: value.value for name, value in found.items()}

    async def manager_property(self, name: str) -> Any:
        """One property of the manager itself."""
        return (await self.call("Get", "ss", _MANAGER, name, interface=_PROPERTIES))[0].value

    async def run_job(self, member: str, signature: str, *body: object, seconds: float) -> str:
        """Call a method that makes a job, and wait for the job's result: `done`, `failed`, ...

        Raises:
            ManagerError: refused, the connection dropped, or not done in time.
        """
        # The news that a job is done can arrive before the reply that names the job.
        self._calling_job += 1
        try:
            (job,) = await self.call(member, signature, *body)
            if job in self._early:
                return self._early[job]
            done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            self._jobs[job] = done
        finally:
            self._calling_job -= 1
            if not self._calling_job:
                self._early.clear()
        try:
            async with asyncio.timeout(seconds):
                return await done
        except TimeoutError:
            raise ManagerError(f"systemd was not done with {body[0]} after {seconds:.0f} s") from None
        finally:
            del self._jobs[job]

    async def watch(self, path: str) -> None:
        """Be told of changes of a unit, also after a reconnection."""
        if path not in self._watched:
            bus = await self._connected()
            self._watched.add(path)
            await self._match(bus, "AddMatch", _changes_of(path))

    async def unwatch(self, path: str) -> None:
        """Be told no more."""
        if path in self._watched:
            self._watched.discard(path)
            if self._bus is not None and self._bus.connected:
                with contextlib.suppress(ManagerError):
                    await self._match(self._bus, "RemoveMatch", _changes_of(path))

    async def close(self) -> None:
        """Disconnect for good."""
        self._closed.set()
        if self._upkeep is not None:
            if self._bus is not None and self._bus.connected:
                self._bus.disconnect()  # what the upkeep waits for
            else:
                self._upkeep.cancel()
            await asyncio.wait({self._upkeep})

    # --- inside ------------------------------------------------------------------------------

    async def _connected(self) -> MessageBus:
        async with self._connecting:
            if self._closed.is_set():
                raise ManagerError("the connection to systemd was closed")
            if self._bus is None or not self._bus.connected:
                self._bus = await self._connect()
                if self._upkeep is None:
                    self._upkeep = asyncio.create_task(self._keep_up(), name="connection to systemd")
            return self._bus

    async def _connect(self) -> MessageBus:
        bus = MessageBus(bus_address=self._address)
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                await bus.connect()
        except (TimeoutError, *_DROPPED, ValueError) as error:
            await _disconnect(bus)
            raise ManagerError(f"the bus {self._address} does not answer: {error!r}") from error
        try:
            bus.add_message_handler(self._received)
            # Before Subscribe: what happens from then on is not missed.
            await self._match(bus, "AddMatch", _JOBS)
            for path in self._watched:
                await self._match(bus, "AddMatch", _changes_of(path))
            await self._send(bus, SYSTEMD, _MANAGER_PATH, _MANAGER, "Subscribe", "", ())
        except BaseException:
            await _disconnect(bus)
            raise
        return bus

    async def _keep_up(self) -> None:
        """Reconnect for ever, so that ends of services are noticed after the bus was restarted."""
        while self._bus is not None:
            await _disconnected(self._bus)
            if self._closed.is_set():
                return
            for job in self._jobs.values():
                if not job.done():
                    job.set_exception(ManagerError("the connection to systemd dropped"))
            tries = 0
            while True:
                await asyncio.sleep(_PAUSES[min(tries, len(_PAUSES) - 1)])
                tries += 1
                try:
                    await self._connected()
                except ManagerError as error:
                    if self._closed.is_set():
                        return
                    if tries == 1:
                        _log.warning("systemd is out of reach, trying again: %s", error.detail)
                else:
                    break
            self._on_reconnect()

    async def _match(self, bus: MessageBus, member: str, rule: str) -> None:
        await self._send(bus, _DBUS, "/org/freedesktop/DBus", _DBUS, member, "s", (rule,))

    @staticmethod
    async def _send(
        bus: MessageBus,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str,
        body: Sequence[object],
    ) -> list[Any]:
        message = Message(
            destination=destination,
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=list(body),
        )
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                reply = await bus.call(message)
        except TimeoutError:
            raise ManagerError(f"systemd did not answer {member} within {_CALL_SECONDS:.0f} s") from None
        except _DROPPED as error:
            raise ManagerError(f"the connection to systemd dropped during {member}: {error}") from error
        if reply is None:
            raise ManagerError(f"systemd did not answer {member}")
        if reply.message_type is MessageType.ERROR:
            text = str(reply.body[0]) if reply.body else reply.error_name
            raise ManagerError(f"systemd refuses {member}: {text}", reply.error_name or "")
        return list(reply.body)

    def _received(self, message: Message) -> None:
        if message.message_type is not MessageType.SIGNAL:
            return
        if message.member == "JobRemoved":
            _, job, _, result = message.body
            waiting = self._jobs.get(job)
            if waiting is not None and not waiting.done():
                waiting.set_result(result)
            elif self._calling_job:
                self._early[job] = result
        elif message.member == "PropertiesChanged" and message.path in self._watched:
            self._on_change(message.path)


_JOBS = f"type='signal',sender='{SYSTEMD}',interface='{_MANAGER}',member='JobRemoved'"


def _changes_of(path: str) -> str:
    return (
        f"type='signal',sender='{SYSTEMD}',path='{path}',interface='{_PROPERTIES}',member='PropertiesChanged'"
    )


async def _disconnected(bus: MessageBus) -> None:
    with contextlib.suppress(*_DROPPED):
        await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]  # published without


async def _disconnect(bus: MessageBus) -> None:
    if bus.connected:
        bus.disconnect()
        await _disconnected(bus)
