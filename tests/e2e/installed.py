"""gpumod as a service: installed by its own command into a box with a real systemd."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpumod.client import Client
from gpumod.core.errors import GpumodError
from gpumod.testing.engine_server import Script, command_of
from gpumod.testing.ports import free_port, free_ports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from subprocess import CompletedProcess

    from tests.systemd_box import SystemdBox

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(sys.executable).parent
PATIENCE = 120.0
DAEMON = "gpumodd.service"
USER = "ada"
_CONFIG = """\
cards: {cards}
host_limit: 1GiB
headroom: {{card: 0MiB, host: 64MiB}}
listen: 127.0.0.1:{port}
ports: {first}-{last}
bounds: {{barrier: 60s, after_kill: 60s, watch_interval: 300ms}}
"""


@dataclass(frozen=True)
class Process:
    """A process of the box, numbered as inside."""

    pid: int
    uids: tuple[int, ...]
    groups: frozenset[int]
    cgroup: str
    command: str


class Installed:
    """A daemon of the system's manager, or of a user's own; its files, its units and a client."""

    def __init__(self, box: SystemdBox, *, user: str = "") -> None:
        self.box = box
        self.user = user
        self.uid = int(box.run(["id", "-u", user]).stdout) if user else 0
        self._ports = (free_port(), free_ports(51))
        self.configure()
        self._altered = False
        # In the box's own layer: the interpreter may lie in a home that others may not enter.
        for place in (Path(sys.executable), Path(sys.executable).resolve(), ROOT):
            box.run(["chmod", "a+x", *map(str, [*place.parents][:-1])])

    # --- files -------------------------------------------------------------------------------

    @property
    def folder(self) -> str:
        """Where its configuration is."""
        return f"/home/{self.user}/.config/gpumod" if self.user else "/etc/gpumod"

    @property
    def state(self) -> str:
        """Where its database and logs are."""
        return f"/home/{self.user}/.local/state/gpumod" if self.user else "/var/lib/gpumod"

    @property
    def socket(self) -> str:
        """Its socket, as inside."""
        return f"/run/user/{self.uid}/gpumod/gpumod.sock" if self.user else "/run/gpumod/gpumod.sock"

    def write(self, name: str, text: str) -> None:
        """Write one of the configuration's files."""
        path = self.box.path(f"{self.folder}/{name}")
        if not path.parent.exists():
            self.run("mkdir", "-p", f"{self.folder}/{Path(name).parent}")
        path.write_text(text)

    def preset(self, name: str, script: Script, *, vram: int = 600, **keys: Any) -> None:
        """A preset whose engine is the scripted server, and a mode with it alone."""
        script.name = name
        command = {
            "cmd": list(command_of(script, port="${PORT}")),
            "ready": "/health",
            "in_flight": "/metrics#llamacpp:requests_processing",
        }
        document = {
            "id": name,
            "engine": "command",
            "command": command,
            "vram": f"{vram}MiB",
            "startup_timeout": "120s",
            "drain": {"deadline": "5s"},
            "stop_grace": "60s",
            **keys,
        }
        self.write(f"presets/{name}.yaml", json.dumps(document))
        self.write(f"modes/{name}.yaml", json.dumps({"id": name, "services": [name]}))

    def configure(self, *lines: str, cards: str = "host") -> None:
        """Write config.yaml with other cards or more lines; the next daemon reads it."""
        self._altered = True
        port, first = self._ports
        text = _CONFIG.format(cards=cards, port=port, first=first, last=first + 50)
        self.write("config.yaml", "\n".join((text, *lines, "")))

    def restore(self) -> None:
        """Take back what `configure` and `drop_in` laid over, if anything."""
        if self._altered:
            self.configure()
            self.drop_in()
            self.systemctl("reset-failed", DAEMON, check=False)
            self.systemctl("restart", DAEMON)
            self._altered = False

    def drop_in(self, *lines: str) -> None:
        """Lay lines over the unit's [Service], or take them away again."""
        self._altered = True
        folder = f"/etc/systemd/{'user' if self.user else 'system'}/{DAEMON}.d"
        if lines:
            self.box.run(["mkdir", "-p", folder])
            text = "\n".join(("[Service]", *lines, ""))
            self.box.path(f"{folder}/test.conf").write_text(text)
        else:
            self.box.run(["rm", "-rf", folder])
        self.systemctl("daemon-reload")

    # --- commands ----------------------------------------------------------------------------

    def run(self, *argv: str, check: bool = True) -> CompletedProcess[str]:
        """Run a command as the one whose daemon it is."""
        if not self.user:
            return self.box.run(argv, check=check)
        become = ("setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--init-groups")
        env = {"HOME": f"/home/{self.user}", "XDG_RUNTIME_DIR": f"/run/user/{self.uid}"}
        return self.box.run([*become, *argv], env=env, check=check)

    def ctl(self, *argv: str, check: bool = True) -> CompletedProcess[str]:
        """Run gpumodctl."""
        return self.run(str(SCRIPTS / "gpumodctl"), *argv, check=check)

    def systemctl(self, *argv: str, check: bool = True) -> str:
        """Ask the manager; what it says."""
        manager = ("--user",) if self.user else ()
        return self.run("systemctl", *manager, "--no-pager", *argv, check=check).stdout.strip()

    def show(self, name: str, unit: str = DAEMON) -> str:
        """One property of a unit."""
        return self.systemctl("show", f"--property={name}", "--value", unit)

    def journal(self) -> str:
        """What the daemon's unit has logged since the box was booted."""
        kind = "--user-unit" if self.user else "--unit"
        self.box.run(["journalctl", "--sync"])
        return self.box.run(["journalctl", "--no-pager", "--quiet", kind, DAEMON]).stdout

    def kill_daemon(self, signal: str) -> None:
        """Send the daemon, and nobody else, a signal."""
        self.box.run(["kill", f"-{signal}", self.show("MainPID")])

    # --- what there is -----------------------------------------------------------------------

    @contextlib.contextmanager
    def client(self) -> Iterator[Client]:
        """A client of the daemon, on this side of the box."""
        with Client(str(self.box.path(self.socket))) as client:
            yield client

    def answers(self) -> bool:
        """Whether the daemon answers."""
        try:
            with self.client() as client:
                client.status()
        except GpumodError:
            return False
        return True

    def settled(self) -> bool:
        """Whether the daemon answers, has recovered, and switches nothing."""
        if not self.answers():
            return False
        with self.client() as client:
            return client.status().switch is None and self.ready()

    def ready(self) -> bool:
        """Whether /ready says so."""
        with socket.socket(socket.AF_UNIX) as channel:
            channel.settimeout(60)
            channel.connect(str(self.box.path(self.socket)))
            channel.sendall(b"GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return b" 200 " in channel.recv(64)

    def wait_until(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait until something is so, for a bounded time."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"waited {PATIENCE} s until {what}:\n{self.journal()[-6000:]}"
            time.sleep(0.05)

    def processes(self) -> list[Process]:
        """All processes of the box."""
        found = []
        for entry in self.box.path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    found.append(_process(entry))
        return [process for process in found if process.command]

    def engines(self) -> dict[str, list[Process]]:
        """Processes of engines by the service that they say they are, children included."""
        by_name: dict[str, list[Process]] = {}
        for process in self.processes():
            if "engine_server.py" in process.command:
                by_name.setdefault(process.command.split('"name": "')[1].split('"')[0], []).append(process)
        return by_name

    def units(self) -> dict[str, int]:
        """Units of engines, by their names' ends (`chat-g1`), and their main processes."""
        listed = self.systemctl("show", "--property=Id,MainPID", "gpumod-*-g*.service")
        found = {}
        for block in filter(None, listed.split("\n\n")):
            values = dict(line.split("=", 1) for line in block.splitlines())
            name = values["Id"].removesuffix(".service").split("-", 2)[2]
            found[name] = int(values["MainPID"])
        return found


def _process(entry: Path) -> Process:
    status = dict(line.split(":", 1) for line in (entry / "status").read_text().splitlines() if ":" in line)
    return Process(
        pid=int(entry.name),
        uids=tuple(map(int, status["Uid"].split())),
        groups=frozenset(map(int, status["Groups"].split())),
        cgroup=(entry / "cgroup").read_text(),
        command=(entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"),
    )
