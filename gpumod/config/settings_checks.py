"""What settings must be like beyond their structure."""

from __future__ import annotations

import ipaddress
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from gpumod.config.problems import Finding
from gpumod.config.settings_file import SettingsFile
from gpumod.config.variables import LATER
from gpumod.core.switch import IDLE, RECOVERY

_LONGEST_SOCKET: Final = 107
"""Bytes of a Unix socket's path: sun_path of sockaddr_un, less the NUL (unix(7))."""


def checked_listen(text: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`; brackets around an IPv6 address are taken off."""
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def checked_ports(text: str) -> tuple[int, int]:
    """First and last of `FIRST-LAST`."""
    first, _, last = text.partition("-")
    return int(first), int(last)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def findings(
    file: SettingsFile, *, socket: Path, folder: Path, wrong: frozenset[str] = frozenset()
) -> Iterator[Finding]:
    """Everything that is wrong, or odd, with settings whose structure is right.

    Args:
        file: the settings.
        socket: the daemon's socket, default or not.
        folder: what paths of key files are relative to.
        wrong: keys that were left out because their structure is not right.
    """
    yield from _listen(file, keys_expected=bool(file.keys) or "keys" in wrong)
    yield from _ports(file)
    yield from _keys(file, folder)
    yield from _paths(file)
    for name in LATER & (file.vars or {}).keys():
        yield Finding(("vars", name), f"${{{name}}} stands for a service's own, so nothing can be set here")
    if len(bytes(socket)) > _LONGEST_SOCKET:
        yield Finding(
            ("socket",),
            f"{socket} is too long for a Unix socket: at most {_LONGEST_SOCKET} bytes",
            "set `socket:` or `runtime_dir:` to a shorter path",
        )


def _listen(file: SettingsFile, *, keys_expected: bool) -> Iterator[Finding]:
    seen = set()
    for index, text in enumerate(file.listen or ()):
        host, port = checked_listen(text)
        if not 0 < port <= 65535:
            yield Finding(("listen", index), f"{port} is not a port: 1 to 65535")
        if (host, port) in seen:
            yield Finding(("listen", index), f"{text} is there twice")
        seen.add((host, port))
        if not is_loopback(host) and not keys_expected:
            yield Finding(
                ("listen", index),
                f"{host} can be reached from other machines, and there are no keys",
                "add `keys:`, or listen on 127.0.0.1",
            )


def _ports(file: SettingsFile) -> Iterator[Finding]:
    first, last = checked_ports(file.ports or "18000-18999")
    if not 0 < first <= last <= 65535:
        yield Finding(("ports",), f"{file.ports} is not a range of ports: the first, -, the last, 1 to 65535")
    for index, text in enumerate(file.listen or ()):
        _, port = checked_listen(text)
        if first <= port <= last:
            yield Finding(("listen", index), f"{port} lies in the range for services, {first}-{last}")


def _keys(file: SettingsFile, folder: Path) -> Iterator[Finding]:
    seen = set()
    for index, key in enumerate(file.keys or ()):
        if key.name in seen:
            yield Finding(("keys", index, "name"), f"another key has the name {key.name}")
        if key.name in {IDLE, RECOVERY}:
            yield Finding(
                ("keys", index, "name"), f"{key.name} is the daemon's own name for what it does itself"
            )
        seen.add(key.name)
        if (key.hash is None) == (key.key_file is None):
            yield Finding(("keys", index), "needs exactly one of `hash` and `key_file`")
        if key.key_file is not None and not key.key_file.startswith("~/"):
            yield from _key_file(folder / key.key_file, ("keys", index, "key_file"))


def _key_file(path: Path, location: tuple[str | int, ...]) -> Iterator[Finding]:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        yield Finding(location, f"{path} cannot be read: {error.strerror}")
        return
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        yield Finding(location, f"others can read {path}", f"chmod 600 {path}", warning=True)


def _paths(file: SettingsFile) -> Iterator[Finding]:
    for name in ("socket", "state_dir", "runtime_dir"):
        path = getattr(file, name)
        if path is not None and not path.startswith(("/", "~/")):
            yield Finding((name,), f"{path} is not an absolute path")
