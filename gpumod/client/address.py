"""Where the daemon is, and the key to show it. Standard library only: `gpumodctl status` starts with this."""

import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from gpumod.core.errors import InvalidRequestError, NotAllowedError, UnreachableError
from gpumod.core.paths import DEFAULT_HOST, DEFAULT_PORT, key_files, socket_candidates

_SCHEMES: Final = frozenset({"http", "https"})
_HOST: Final = re.compile(r"[A-Za-z0-9._:%-]+")
_ERRNO: Final = re.compile(r"^\[Errno -?\d+\] ")
_CONNECT: Final = 2.0
"""Seconds that a Unix socket may take to accept; only a stopped daemon takes any."""


class Address(NamedTuple):
    """A daemon's address: a Unix socket, or `host` and `port`.

    `tried` says where else it was looked for, and why it is not there.
    """

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    socket: str | None = None
    scheme: str = "http"
    tried: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        """The base of all URLs. Over a Unix socket the host is `localhost`."""
        if self.socket is not None:
            return "http://localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    def __str__(self) -> str:
        """The address as people write it."""
        return self.socket or self.url

    def check(self) -> None:
        """Connect to a Unix socket and hang up.

        Before each request of the HTTP library, which forgets to close a socket that could not connect.

        Raises:
            UnreachableError: it does not accept.
        """
        if self.socket is not None and (why := _why_not(self.socket)):
            raise self.unreachable(why)

    def unreachable(self, why: str) -> UnreachableError:
        """The error for an address where nobody answers, which also tells what to do."""
        looked = "; ".join([*self.tried, f"{self}: {why}"])
        return UnreachableError(
            f"no daemon answers ({looked}). Start it with `gpumodd`, or install its unit with "
            "`gpumodctl doctor --install-unit`; one that is elsewhere is named by --host or --socket.",
            {"address": str(self)},
        )


def parse_host(text: str) -> Address:
    """An address from `host`, `host:port`, `[v6]:port` or a URL.

    Raises:
        InvalidRequestError: it is none of these.
    """
    from urllib.parse import urlsplit

    parts = urlsplit(text if "://" in text else f"//{text}", scheme="http")
    try:
        port = parts.port
    except ValueError:
        port = 0
    plain = parts.path in {"", "/"} and not (parts.query or parts.fragment or "@" in parts.netloc)
    if not _HOST.fullmatch(parts.hostname or "") or port == 0 or parts.scheme not in _SCHEMES or not plain:
        raise InvalidRequestError(
            f"{text!r} is not a daemon's address: write HOST, HOST:PORT or http://HOST:PORT"
        )
    return Address(str(parts.hostname), port or DEFAULT_PORT, scheme=parts.scheme)


def find_address(
    host: str | None = None, socket_path: str | None = None, env: Mapping[str, str] | None = None
) -> Address:
    """Where the daemon is: the argument, the environment, or the first default that accepts.

    Args:
        host: as for `parse_host`; `$GPUMOD_HOST` otherwise.
        socket_path: a Unix socket; `$GPUMOD_SOCKET` otherwise, which comes before `$GPUMOD_HOST`.
        env: the environment, this process's by default.

    Raises:
        InvalidRequestError: both are given, or the host is malformed.
    """
    env = os.environ if env is None else env
    if host and socket_path:
        raise InvalidRequestError("give either a host or a socket, not both")
    if not host and (chosen := socket_path or env.get("GPUMOD_SOCKET")):
        return Address(socket=chosen)
    if chosen := host or env.get("GPUMOD_HOST"):
        return parse_host(chosen)
    absent: list[str] = []
    tried: list[str] = []
    for path in socket_candidates(env, os.getuid()):
        if not Path(path).exists():
            absent.append(path)
        elif why := _why_not(path):
            tried.append(f"{path}: {why}")
        else:
            return Address(socket=path)
    return Address(tried=(*([f"no socket {', '.join(absent)}"] if absent else []), *tried))


def _why_not(path: str) -> str:
    """Why a Unix socket does not accept a connection; empty if it does. A killed daemon leaves its file."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as attempt:
        attempt.settimeout(_CONNECT)
        try:
            attempt.connect(path)
        except OSError as error:
            return reason(error)
    return ""


def reason(error: BaseException) -> str:
    """An operating system error in its own words, without its number."""
    text = _ERRNO.sub("", getattr(error, "strerror", None) or str(error)) or type(error).__name__
    return text[0].lower() + text[1:] if text[1:2].islower() else text


def find_key(
    key: str | None = None, key_file: str | None = None, env: Mapping[str, str] | None = None
) -> str | None:
    """The key to send: the argument, `$GPUMOD_KEY`, or what the key file holds; None without any.

    Raises:
        NotAllowedError: a key file that was asked for cannot be read, or is empty.
    """
    env = os.environ if env is None else env
    if chosen := key or (not key_file and env.get("GPUMOD_KEY")):
        return chosen
    asked = key_file or env.get("GPUMOD_KEY_FILE")
    for path in (key_file,) if key_file else key_files(env):
        try:
            text = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            if asked:
                raise NotAllowedError(f"the key file {path} cannot be read: {reason(error)}") from error
            continue
        if not text and asked:
            raise NotAllowedError(f"the key file {path} is empty")
        return text or None
    return None
