"""One GET with the standard library alone: what `gpumodctl status` needs to start quickly."""

import json
import socket
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Final

from gpumod.client.address import Address, reason
from gpumod.core.errors import GpumodError, TimedOutError
from gpumod.core.problem import error_from

BASE: Final = "/gpumod/v1"
TIMEOUT: Final = 10.0
"""Seconds to wait for an answer; a status is answered from memory."""


class _UnixConnection(HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(self.timeout)
            sock.connect(self._path)
        except BaseException:
            sock.close()
            raise
        self.sock = sock


def get(address: Address, path: str, key: str | None = None, timeout: float = TIMEOUT) -> object:
    """The JSON that the daemon answers to a GET of `path` below `/gpumod/v1`.

    Raises:
        UnreachableError: nobody answers there.
        TimedOutError: no answer in `timeout` seconds.
        GpumodError: what the daemon's problem document says.
    """
    connection = _connection(address, timeout)
    headers = {"Accept": "application/json", "Connection": "close"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    try:
        connection.request("GET", f"{BASE}/{path}", headers=headers)
        response = connection.getresponse()
        status, body = response.status, response.read()
    except TimeoutError as error:
        raise TimedOutError(f"the daemon at {address} did not answer within {timeout:g} s") from error
    except (OSError, HTTPException) as error:
        raise address.unreachable(reason(error)) from error
    finally:
        connection.close()
    return answer(status, body)


def _connection(address: Address, timeout: float) -> HTTPConnection:
    if address.socket is not None:
        return _UnixConnection(address.socket, timeout)
    kind = HTTPSConnection if address.scheme == "https" else HTTPConnection
    return kind(address.host, address.port, timeout=timeout)


def answer(status: int, body: bytes) -> object:
    """What an answer's body says.

    Raises:
        GpumodError: the status is an error, or the body is not JSON.
    """
    try:
        value = json.loads(body)
    except ValueError:
        value = None
    if status < 400 and value is not None:
        return value
    if isinstance(value, dict):
        raise error_from(value)
    start = body[:200].decode("utf-8", "replace").strip()
    raise GpumodError(f"the answer is not gpumodd's: HTTP {status}: {start or 'an empty body'}")
