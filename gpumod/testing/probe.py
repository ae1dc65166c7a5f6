"""Ports, files and memory of a system that exists only in memory."""

from __future__ import annotations

from collections.abc import Collection

from gpumod.core.cards import PortHolder
from gpumod.core.service import FileIdentity


class FakeHostProbe:
    """`HostProbe` for tests: the attributes are what it finds.

    Attributes:
        ports: who listens; a holder without a pid is one that may not be seen.
        files: identities and reasons by path; other paths are files of one byte.
        pss: anonymous bytes by pid.
    """

    def __init__(self) -> None:
        self.ports: dict[int, PortHolder] = {}
        self.files: dict[str, FileIdentity | str] = {}
        self.pss: dict[int, int] = {}

    def listen(self, port: int, pid: int | None, command: str = "", user: str = "") -> None:
        """A process listens on a port from now on."""
        self.ports[port] = PortHolder(port, pid, command=command, user=user)

    def hang_up(self, port: int) -> None:
        """Nobody listens there any more."""
        self.ports.pop(port, None)

    def add_file(self, path: str, size: int, modified_ns: int = 1) -> None:
        """There is such a file."""
        self.files[path] = FileIdentity(path, size, modified_ns)

    def remove_file(self, path: str) -> None:
        """There is no such file."""
        self.files[path] = "there is no such file"

    async def port_holder(self, port: int) -> PortHolder | None:
        """As the port says."""
        return self.ports.get(port)

    async def listens(self, port: int, pids: Collection[int]) -> bool | None:
        """As the port says."""
        holder = self.ports.get(port)
        if holder is None:
            return False
        return None if holder.pid is None else holder.pid in pids

    async def identify(self, path: str) -> FileIdentity | str:
        """As the port says."""
        return self.files.get(path, FileIdentity(path, 1, 1))

    async def anonymous_pss(self, pids: Collection[int]) -> int:
        """As the port says."""
        return sum(self.pss.get(pid, 0) for pid in pids)
