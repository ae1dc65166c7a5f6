"""Which runner new attempts get, and which others may still have attempts of former daemons."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from gpumod.core.errors import ConfigError
from gpumod.runners.bus import ManagerBus, ManagerError, bus_address
from gpumod.runners.cgroup import own_unit
from gpumod.runners.process import ProcessRunner
from gpumod.runners.systemd import SystemdRunner

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gpumod.core.ports import Runner

_log = logging.getLogger(__name__)


async def choose_runner(
    setting: str, *, state_dir: Path, instance: str, manager: str = "auto"
) -> tuple[dict[str, Runner], str]:
    """The runners of this box by name, and the name of the one that starts new attempts.

    The others are there for attempts that a daemon with another setting started.

    Args:
        setting: `auto` (systemd if it answers, else process), `systemd` or `process`.
        state_dir: where the process runner keeps what has to survive the daemon.
        instance: tells this daemon's units from those of others on the machine.
        manager: whose units: `system`, `user`, or `auto`, root's being the system's.

    Raises:
        ConfigError: the runner that was asked for cannot be used here.
    """
    root = os.geteuid() == 0
    if manager == "system" and not root:
        # Where polkit lets the user do so, units of the system manager would run as root.
        raise ConfigError("`systemd_manager: system` needs a daemon that runs as root: use `user` or `auto`")
    if manager == "user" and root:
        # A user manager cannot change users, so engines would run as root.
        raise ConfigError("`systemd_manager: user` needs a daemon that runs as that user, not as root")
    if manager == "auto":
        manager = "system" if root else "user"
    why_not_systemd = await systemd_available(manager)
    unit = unit_of_this_daemon()
    runners: dict[str, Runner] = {"process": ProcessRunner(state_dir)}
    if not why_not_systemd:
        runners["systemd"] = SystemdRunner(manager, instance, daemon_unit=unit)
    if setting == "auto":
        setting = "process" if why_not_systemd else "systemd"
        _log.info(
            "runner: %s%s", setting, f" ({why_not_systemd})" if why_not_systemd else f" ({manager} manager)"
        )
    if setting == "systemd" and why_not_systemd:
        raise ConfigError(f"`runner: systemd` cannot be used: {why_not_systemd}")
    if setting == "process" and unit:
        why = f"; systemd itself cannot be used: {why_not_systemd}" if why_not_systemd else ""
        raise ConfigError(
            f"the process runner cannot be used inside {unit}: its services would be killed with it. "
            f"Set `runner: systemd`{why}"
        )
    return runners, setting


async def systemd_available(manager: str) -> str:
    """Why a manager (`system` or `user`) cannot be used, in a sentence; empty when it can."""
    if not _booted_with_systemd():
        return "this machine was not booted with systemd"
    bus = ManagerBus(bus_address(manager))
    try:
        await bus.manager_property("Version")
    except ManagerError as error:
        return f"systemd's {manager} manager does not answer: {error.detail}"
    finally:
        await bus.close()
    return ""


def unit_of_this_daemon(environment: Mapping[str, str] | None = None) -> str:
    """The service unit whose main process this is; empty when there is none.

    A process that only happens to run somewhere below a unit (a terminal, a build machine's
    agent) is not ended with its children whenever the daemon ends.
    """
    environment = os.environ if environment is None else environment
    if "INVOCATION_ID" not in environment:
        return ""
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        unit = own_unit(file.read())
    # Older systemds do not say whose invocation it is; then the unit's name has to.
    main = environment.get("SYSTEMD_EXEC_PID", str(os.getpid()) if unit.startswith("gpumod") else "")
    return unit if unit.endswith(".service") and main == str(os.getpid()) else ""


def _booted_with_systemd() -> bool:
    """See sd_booted(3)."""
    return os.path.isdir("/run/systemd/system")
