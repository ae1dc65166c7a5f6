"""Requests for the control plane: uvicorn's own protocol answers them, on the same connection.

Each such request gets a fresh protocol on a transport that stands in for the real one, so that neither its
idle timer nor its pipelining ever meets a request of the gateway's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Protocol, cast

from gpumod.gateway.http.client import Running
from gpumod.gateway.http.limits import Limits
from gpumod.gateway.http.requests import RequestHead


class Control(Protocol):
    """What is needed of uvicorn's `HttpToolsProtocol`."""

    @property
    def on_response_complete(self) -> Callable[[], None]:
        """Called by the protocol itself when it has written an answer; replaced to learn of that."""
        ...

    def connection_made(self, transport: asyncio.Transport) -> None: ...
    def data_received(self, data: bytes) -> None: ...
    def connection_lost(self, exc: Exception | None) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...


ControlFactory = Callable[[], Control]


class Host(Protocol):
    """The client's connection, as a guest sees it."""

    transport: asyncio.Transport

    def attend(self, when: float) -> None: ...
    def done(self, *, keep: bool) -> None: ...
    def cut(self, *, at_once: bool = False) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def tunnel(self, running: Running) -> None: ...


class Guest:
    """One request that the control plane answers."""

    def __init__(self, host: Host, control: Control, limits: Limits, clock: Callable[[], float]) -> None:
        self._host = host
        self._control = control
        self._limits = limits
        self._clock = clock
        self._over = False
        self._transport = _Transport(self, host.transport)
        self._completed = control.on_response_complete
        vars(control)["on_response_complete"] = self._complete
        control.connection_made(self._transport)

    def _complete(self) -> None:
        self._completed()
        if not self._over:
            self._leave()
            self._host.done(keep=True)

    def _leave(self) -> None:
        """The host is told in a moment, and goes on with other requests; the protocol winds up."""
        self._over = True
        self._host.attend(float("inf"))
        asyncio.get_running_loop().call_soon(self._wind_up)

    def _wind_up(self) -> None:
        self._control.connection_lost(None)

    def closing(self) -> None:
        """The protocol wants the connection closed, with its answer or instead of one."""
        if not self._over:
            self._leave()
            self._host.done(keep=False)

    @property
    def over(self) -> bool:
        """Whether the connection is no longer the guest's."""
        return self._over

    @property
    def host(self) -> Host:
        """The client's connection."""
        return self._host

    def replaced(self, protocol: Control) -> None:
        """The protocol hands over to another one, for a websocket."""
        self._control = protocol
        self._host.tunnel(self)

    def shut_down(self) -> None:
        """The server ends: the answer under way is the last one."""
        shut_down = getattr(self._control, "shutdown", None)
        if shut_down is not None and not self._over:
            shut_down()

    # --- what runs on a connection ---

    def fed(self, data: bytes) -> None:
        """Bytes of the request."""
        if not self._over:
            self._control.data_received(data)

    def gone(self) -> None:
        """The client has closed the connection."""
        if not self._over:
            self._over = True
            self._wind_up()

    def full(self) -> None:
        """The client takes no more for now."""
        self._control.pause_writing()
        self._host.attend(self._clock() + self._limits.client_silence)

    def ready(self) -> None:
        """The client takes bytes again."""
        self._control.resume_writing()
        self._host.attend(float("inf"))

    def overdue(self, now: float) -> None:
        """The client took nothing for too long."""
        del now
        self.gone()
        self._host.cut(at_once=True)


class _Transport(asyncio.Transport):
    """Stands in for the real transport while a guest has the connection."""

    def __init__(self, guest: Guest, real: asyncio.Transport) -> None:
        super().__init__()
        self._guest = guest
        self._real = real

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._real.get_extra_info(name, default)

    def is_closing(self) -> bool:
        return self._guest.over or self._real.is_closing()

    def close(self) -> None:
        self._guest.closing()

    def abort(self) -> None:
        if not self._guest.over:
            self._guest.gone()
            self._guest.host.cut(at_once=True)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._guest.over:
            self._real.write(data)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def get_write_buffer_size(self) -> int:
        return self._real.get_write_buffer_size()

    def pause_reading(self) -> None:
        if not self._guest.over:
            self._guest.host.pause_reading()

    def resume_reading(self) -> None:
        if not self._guest.over:
            self._guest.host.resume_reading()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._guest.replaced(cast("Control", protocol))


def without_upgrade(parsed: RequestHead) -> bytes:
    """A head without its offer of another protocol: uvicorn's parser would take the body for it."""
    version = b"1.0" if parsed.old else b"1.1"
    lines = [b"%b %b HTTP/%b" % (parsed.method, parsed.target, version)]
    lines += [b"%b: %b" % header for header in parsed.headers if header[0] not in {b"upgrade", b"connection"}]
    if parsed.old or not parsed.keep_alive:
        lines.append(b"connection: keep-alive" if parsed.keep_alive else b"connection: close")
    return b"\r\n".join([*lines, b"", b""])
