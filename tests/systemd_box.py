"""A systemd of our own as PID 1 in private namespaces, to test against the real thing.

    with SystemdBox(binds=[checkout, tmp_path]) as box:
        box.run(["systemctl", "is-system-running"])

Its root is a throw-away overlay over this machine's, so it has this machine's systemd, D-Bus and Python;
folders in `binds` are shared, everything else that is written vanishes with the box. Pids inside are others
than outside; the network is shared. Root only. All that happens outside of the namespaces is one cgroup per
hierarchy, below our own, and a folder in /dev/shm, both removed by `stop`.
"""

import contextlib
import functools
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

_BOOT_SECONDS = 60.0
_HALT_SECONDS = 60.0
_PAUSE = 0.02
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Version 1 hierarchies that systemd leaves alone.
_UNUSED = {"cpuset", "net_cls", "net_prio", "perf_event", "hugetlb", "rdma", "misc"}
# All that is started at boot; the rest of a machine's units would touch hardware that a box does not have.
_WANTS = {
    "sysinit.target": ("systemd-journald.service", "systemd-tmpfiles-setup.service"),
    "sockets.target": ("dbus.socket", "systemd-journald.socket", "systemd-journald-dev-log.socket"),
    "multi-user.target": ("dbus.service", "systemd-logind.service", "systemd-user-sessions.service"),
}
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")


def why_not() -> str:
    """Why no box can be had here; empty when one can."""
    if os.geteuid() != 0:
        return "needs root, for namespaces of its own"
    tools = ("nsenter", "unshare", "setpriv", "mount", "dbus-daemon")
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if not Path("/lib/systemd/systemd").exists():
        missing.append("systemd")
    return f"needs {', '.join(missing)}" if missing else ""


class SystemdBox:
    """A machine of its own, as far as systemd can tell."""

    def __init__(self, binds: Sequence[Path] = ()) -> None:
        self.name = f"gpumod-box-{secrets.token_hex(4)}"
        self._folder = Path("/dev/shm", self.name)
        self._binds = [str(path.resolve()) for path in binds]
        self._cgroups: list[tuple[str, Path]] = []
        self._unshare: subprocess.Popen[bytes] | None = None
        self._init = 0

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def start(self) -> None:
        """Boot, and wait until systemd says that everything runs."""
        for part in ("upper", "work", "root"):
            (self._folder / part).mkdir(parents=True, exist_ok=True)
        self._cgroups = [(kind, path / self.name) for kind, path in _own_cgroups()]
        for _, path in self._cgroups:
            path.mkdir(exist_ok=True)
        (self._folder / "plan").write_text(
            json.dumps({"binds": self._binds, "cgroups": [kind for kind, _ in self._cgroups]})
        )
        unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--cgroup", "--uts", "--ipc"]
        inside = [sys.executable, "-I", __file__, str(self._folder)]
        with (self._folder / "log").open("wb") as log:
            self._unshare = subprocess.Popen(
                [*self._member(), *unshare, "--propagation", "private", "--", *inside],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait(self._running, _BOOT_SECONDS, "the box did not boot")

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        timeout: float = 60.0,
        check: bool = True,
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command inside, as root, outside of all units; standard error goes with the output."""
        variables = {"PATH": _PATH, "HOME": "/root", "LANG": "C.UTF-8", **(env or {})}
        settings = [f"--chdir={cwd}", *(f"{name}={value}" for name, value in variables.items())]
        done = subprocess.run(
            [*self._member(), *self._nsenter(), "env", "-i", *settings, *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(argv)} exited {done.returncode} in the box:\n{done.stdout}")
        return done

    def path(self, inside: str) -> Path:
        """A file of the box, as this side sees it; good until the box is rebooted."""
        return Path(f"/proc/{self._init}/root{inside}")

    def reboot(self) -> None:
        """Shut down as a machine does, then boot again with the same files (not those in /run and /tmp)."""
        self._halt(graceful=True)
        self.start()

    def stop(self) -> None:
        """End everything inside at once and remove every trace."""
        self._halt(graceful=False)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _nsenter(self) -> list[str]:
        return [
            *("nsenter", "--target", str(self._init), "--mount", "--uts", "--ipc", "--pid", "--cgroup"),
            *("--root", "--wdns=/", "--"),
        ]

    def _member(self) -> list[str]:
        """In front of a command: belong to the box's cgroups, and end with the tests."""
        # Where controllers are in use, only leaves of cgroup v2 may have processes.
        leaves = (leaf if (leaf := path / "init.scope").is_dir() else path for _, path in self._cgroups)
        lists = " ".join(f"{leaf}/cgroup.procs" for leaf in leaves)
        enter = 'for list in $0; do echo $$ >"$list" || exit 1; done; exec "$@"'
        return ["setpriv", "--pdeathsig=KILL", "sh", "-c", enter, lists]

    def _running(self) -> bool:
        assert self._unshare is not None
        if self._unshare.poll() is not None:
            raise AssertionError(f"the box did not boot:\n{(self._folder / 'log').read_text()}")
        children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children").read_text().split()
        if not children or Path(f"/proc/{children[0]}/comm").read_text().strip() != "systemd":
            return False
        self._init = int(children[0])
        state = self.run(["systemctl", "is-system-running"], check=False).stdout.strip()
        if state == "degraded":
            raise AssertionError(self.run(["systemctl", "--failed", "--no-pager"], check=False).stdout)
        return state == "running"

    def _halt(self, *, graceful: bool) -> None:
        if self._unshare is not None:
            with contextlib.suppress(ProcessLookupError):
                if graceful and self._init:
                    os.kill(self._init, signal.SIGRTMIN + 4)  # starts poweroff.target
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        self._unshare.wait(_HALT_SECONDS)
                self._unshare.kill()  # and with it, by --kill-child, PID 1 and so all of the box
            self._unshare.wait(_HALT_SECONDS)
        self._unshare, self._init = None, 0
        for _, path in self._cgroups:
            self._wait(functools.partial(_remove_cgroup, path), _HALT_SECONDS, f"{path} cannot be removed")
        self._cgroups = []

    @staticmethod
    def _wait(done: Callable[[], bool], seconds: float, complaint: str) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline:
                raise AssertionError(f"{complaint} within {seconds} s")
            time.sleep(_PAUSE)


def _own_cgroups() -> list[tuple[str, Path]]:
    """(controllers, folder) of each hierarchy that this process is in; `unified` is version 2."""
    found = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, kind, path = line.split(":", 2)
        if kind in _UNUSED or kind.split(",")[0] in _UNUSED:
            continue
        mounted = Path("/sys/fs/cgroup", kind.removeprefix("name="))
        if not kind:
            kind = "unified"
            pure = Path("/sys/fs/cgroup/cgroup.controllers").exists()
            mounted = Path("/sys/fs/cgroup") if pure else Path("/sys/fs/cgroup/unified")
        if mounted.is_dir():
            found.append((kind, mounted / path.lstrip("/")))
    return found


def _remove_cgroup(path: Path) -> bool:
    for folder, _, _ in os.walk(path, topdown=False):
        with contextlib.suppress(OSError):  # its last processes are still going
            Path(folder).rmdir()
    return not path.exists()


# --- inside the namespaces, before systemd ----------------------------------------------------------


def _become_systemd(folder: Path) -> None:
    plan = json.loads((folder / "plan").read_text())
    root = folder / "root"
    layers = f"lowerdir=/,upperdir={folder}/upper,workdir={folder}/work"
    _mount("-t", "overlay", "-o", layers, "overlay", root)
    _mount_kernel(root, plan["cgroups"])
    _mount_devices(root)
    _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", root / "run")
    _mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", root / "tmp")
    for bind in plan["binds"]:
        Path(f"{root}{bind}").mkdir(parents=True, exist_ok=True)
        _mount("--bind", bind, f"{root}{bind}")
    _configure(root)
    old = root / ".old"
    old.mkdir(exist_ok=True)
    os.chdir(root)
    subprocess.run(["pivot_root", ".", ".old"], check=True)
    os.chdir("/")
    subprocess.run(["umount", "--lazy", "/.old"], check=True)
    capabilities = "--bounding-set=-sys_time,-sys_module,-sys_rawio,-syslog"
    systemd = ["/lib/systemd/systemd", "--system", "--unit=multi-user.target", "--show-status=false"]
    env = {"PATH": _PATH, "container": "gpumod-box", "LANG": "C.UTF-8"}
    os.execvpe("setpriv", ["setpriv", capabilities, *systemd], env)


def _mount(*arguments: object) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True)


def _mount_kernel(root: Path, cgroups: Sequence[str]) -> None:
    _mount("-t", "proc", "proc", root / "proc")
    _mount("--bind", root / "proc/sys", root / "proc/sys")
    _mount("-o", "remount,bind,ro", root / "proc/sys")  # the machine's own settings stay as they are
    _mount("-t", "sysfs", "-o", "ro,nosuid,nodev,noexec", "sysfs", root / "sys")
    cgroup = root / "sys/fs/cgroup"
    if list(cgroups) == ["unified"]:
        _mount("-t", "cgroup2", "cgroup2", cgroup)
        return
    _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", cgroup)
    for kind in cgroups:
        folder = cgroup / kind.removeprefix("name=")
        folder.mkdir()
        if kind == "unified":
            _mount("-t", "cgroup2", "cgroup2", folder)
        else:
            _mount("-t", "cgroup", "-o", f"none,{kind}" if "=" in kind else kind, "cgroup", folder)


def _mount_devices(root: Path) -> None:
    dev = root / "dev"
    _mount("-t", "tmpfs", "-o", "mode=755,nosuid", "tmpfs", dev)
    for name in _DEVICES:
        (dev / name).touch()
        _mount("--bind", f"/dev/{name}", dev / name)
    for name in ("pts", "shm"):
        (dev / name).mkdir()
    _mount("-t", "devpts", "-o", "newinstance,ptmxmode=0666,mode=620,gid=5", "devpts", dev / "pts")
    _mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", dev / "shm")
    for name, target in {
        "ptmx": "pts/ptmx",
        "fd": "/proc/self/fd",
        "stdin": "fd/0",
        "stdout": "fd/1",
    }.items():
        (dev / name).symlink_to(target)
    (dev / "stderr").symlink_to("fd/2")


def _configure(root: Path) -> None:
    """Start little at boot, keep the journal in memory, be a machine of its own. Once per overlay."""
    etc = root / "etc"
    mark = etc / "gpumod-box"
    if mark.exists():
        return
    units = root / "lib/systemd/system"
    for base in (units, etc / "systemd/system"):
        for wants in base.glob("*.wants"):
            for link in wants.iterdir():
                link.unlink()
    for target, wanted in _WANTS.items():
        folder = etc / "systemd/system" / f"{target}.wants"
        folder.mkdir(parents=True, exist_ok=True)
        for unit in wanted:
            (folder / unit).symlink_to(f"/lib/systemd/system/{unit}")
    for name, text in {
        "systemd/journald.conf.d/box.conf": "[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\n",
        "systemd/system.conf.d/box.conf": "[Manager]\nDefaultTimeoutStopSec=10s\n",
        "hostname": "gpumod-box\n",
        "fstab": "",
        "machine-id": secrets.token_hex(16) + "\n",
    }.items():
        (etc / name).parent.mkdir(parents=True, exist_ok=True)
        (etc / name).write_text(text)
    mark.touch()


if __name__ == "__main__":
    _become_systemd(Path(sys.argv[1]))
