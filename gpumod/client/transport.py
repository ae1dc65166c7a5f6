"""What both clients do alike: how to connect, and what an answer or a failure means."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final, TypeVar

import httpx2

from gpumod import __version__
from gpumod.client.address import Address, find_address, find_key, parse_host, reason
from gpumod.client.calls import BASE, Call, LogLine, decode
from gpumod.client.fast import answer
from gpumod.core.errors import GpumodError, TimedOutError
from gpumod.core.events import Event

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")

SILENCE: Final = 60.0
"""Seconds that a stream may be silent: the daemon sends a heartbeat more often than that."""
_CONNECT: Final = 5.0


def where(address: Address | str | None) -> Address:
    """An address from what a user gives: nothing, a host or URL, or the path of a Unix socket."""
    if isinstance(address, Address):
        return address
    if address is None:
        return find_address()
    return Address(socket=address) if address.startswith(("/", "./", "@")) else parse_host(address)


def trust(address: Address) -> ssl.SSLContext | bool:
    """Whom to believe to be the daemon: the usual authorities over https.

    To load those takes tens of milliseconds, which a socket or plain HTTP has no use for: nobody then.
    """
    return address.scheme == "https" or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def headers(key: str | None) -> dict[str, str]:
    """What every request carries."""
    found = find_key(key)
    base = {"User-Agent": f"gpumod/{__version__}", "Accept": "application/json"}
    return base | ({"Authorization": f"Bearer {found}"} if found else {})


def timeout(seconds: float | None) -> httpx2.Timeout:
    """The bounds of one request."""
    return httpx2.Timeout(seconds, connect=_CONNECT, pool=_CONNECT)


def stream_timeout() -> httpx2.Timeout:
    """The bounds of a stream of events."""
    return httpx2.Timeout(SILENCE, connect=_CONNECT, pool=_CONNECT)


def url(call: Call[T]) -> str:
    """The path of a call."""
    return f"{BASE}/{call.path}"


def params(call: Call[T]) -> Mapping[str, str | list[str]]:
    """The query of a call, as the API writes values. A list is sent as a parameter that is repeated."""
    return {name: value if isinstance(value, list) else _query(value) for name, value in call.params.items()}


def _query(value: str | float | bool) -> str:  # noqa: FBT001 - a value of a query
    return str(value).lower() if isinstance(value, bool) else str(value)


def read(call: Call[T], response: httpx2.Response) -> T:
    """The typed answer; one that is no JSON is asked for as `str`.

    Raises:
        GpumodError: what the daemon's problem document says.
    """
    if call.answer is str and response.status_code < 400:
        return call.read(response.text)
    return call.read(answer(response.status_code, response.content))


def failure(address: Address, call: Call[T], error: httpx2.HTTPError) -> GpumodError:
    """The error of a request that got no answer."""
    if isinstance(error, httpx2.ReadTimeout):
        limit = SILENCE if call.seconds is None else call.seconds
        return TimedOutError(f"the daemon at {address} did not answer within {limit:g} s")
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return address.unreachable(reason(cause))


def event(call: Call[T], sse: httpx2.ServerSentEvent) -> T | None:
    """What a server-sent event carries; None for those of another kind, such as heartbeats."""
    if call.answer is LogLine:
        return decode(call.answer, {"offset": int(sse.id or 0), "text": sse.data})
    if call.answer is Event and sse.data:
        return call.read(sse.json())
    return None
