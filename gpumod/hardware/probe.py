"""What the operating system tells of processes, ports and files: the adapter of the `HostProbe` port."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Collection

from gpumod.core.bounds import DEFAULT_BOUNDS, Bounds
from gpumod.core.cards import PortHolder
from gpumod.core.service import FileIdentity
from gpumod.core.units import format_duration
from gpumod.hardware import sockets
from gpumod.hardware.charges import Charges
from gpumod.hardware.procfs import ProcessName, ProcessNames, user_name
from gpumod.hardware.worker import Worker


class LocalHostProbe:
    """`HostProbe` of this machine.

    Ports, files and memory each have a thread: a file system or a process that hangs delays its own kind of
    question only, and that for at most `Bounds.probe`.
    """

    def __init__(self, bounds: Bounds = DEFAULT_BOUNDS, *, root: str = "/") -> None:
        self._root = root.rstrip("/")
        self._bound = bounds.probe
        self._ports = Worker("gpumod-ports")
        self._files = Worker("gpumod-files")
        self._memory = Worker("gpumod-pss")
        self._names = ProcessNames(self._root)
        self._charges = Charges(self._root)
        self._last_pss: dict[int, int] = {}

    async def port_holder(self, port: int) -> PortHolder | None:
        """As the port says. Where /proc does not answer, somebody is taken to listen."""
        try:
            return await self._ports.run(lambda: self._find_holder(port), self._bound)
        except TimeoutError:
            return PortHolder(port, None, command="unknown: /proc does not answer")

    async def listens(self, port: int, pids: Collection[int]) -> bool | None:
        """As the port says."""
        try:
            return await self._ports.run(lambda: self._is_held_by(port, pids), self._bound)
        except TimeoutError:
            return None

    async def identify(self, path: str) -> FileIdentity | str:
        """As the port says. A directory, as models for vLLM are, has an identity as well."""
        try:
            return await self._files.run(lambda: identify(path), self._bound)
        except TimeoutError:
            return f"its file system does not answer within {format_duration(self._bound)}"

    async def anonymous_pss(self, pids: Collection[int]) -> int:
        """As the port says; what was last seen of them where /proc does not answer."""
        try:
            measured = await self._memory.run(lambda: self._charges.measure(pids, exact=True), self._bound)
        except TimeoutError:
            return sum(self._last_pss.get(pid, 0) for pid in pids)
        self._last_pss = measured
        return sum(measured.values())

    async def close(self) -> None:
        """End the threads; one that hangs is left behind."""
        for worker in (self._ports, self._files, self._memory):
            await worker.close(self._bound)

    def _find_holder(self, port: int) -> PortHolder | None:
        found = sockets.listeners(self._root, port)
        if not found:
            return None
        deadline = time.monotonic() + self._bound / 2
        pid = sockets.holder(self._root, {one.inode for one in found}, lambda: time.monotonic() < deadline)
        if pid is None:
            return PortHolder(port, None, user=user_name(found[0].uid))
        name = self._names.of([pid]).get(pid, ProcessName())
        return PortHolder(port, pid, command=name.command, user=name.user)

    def _is_held_by(self, port: int, pids: Collection[int]) -> bool | None:
        inodes = {one.inode for one in sockets.listeners(self._root, port)}
        if not inodes:
            return False
        answers = [sockets.holds(self._root, pid, inodes) for pid in pids]
        if True in answers:
            return True
        return None if None in answers else False


def identify(path: str) -> FileIdentity | str:
    """A file's identity, or why it cannot be used."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        if os.path.islink(path):
            return f"it is a symbolic link to {os.readlink(path)}, which is not there"
        return "there is no such file"
    except NotADirectoryError:
        return "a part of the path is not a directory"
    except PermissionError:
        return f"a directory above it may not be entered by user {user_name(os.geteuid())}"
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
        return "it is neither a file nor a directory"
    wanted = os.R_OK | (os.X_OK if stat.S_ISDIR(found.st_mode) else 0)
    if not os.access(path, wanted):
        return f"user {user_name(os.geteuid())} may not read it"
    return FileIdentity(path, found.st_size, found.st_mtime_ns, found.st_ino)
