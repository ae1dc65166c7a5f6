"""The systemd unit of the daemon: made from its template for this installation, and what installs it.

Everything here is a decision; `apply` is the only function that touches the system.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from gpumod.core.errors import GpumodError, InvalidRequestError, NotAllowedError
from gpumod.resources import shipped

UNIT: Final = "gpumodd.service"
ENGINE_USER: Final = "gpumod-engine"
"""Whom engines run as in the system variant, unless config.yaml names somebody else."""
_SYSTEM_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SYSUSERS: Final = "/etc/sysusers.d/gpumod.conf"
_TMPFILES: Final = "/etc/tmpfiles.d/gpumod.conf"
_LINGER: Final = "/var/lib/systemd/linger"
_BOUND: Final = 180.0
"""Seconds that one systemctl may take: longer than a start of the daemon."""


class Variant(StrEnum):
    """Whose service manager runs the daemon."""

    USER = "user"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class Install:
    """What has to work first, what to write and what to run, in this order; or what to remove."""

    first: tuple[tuple[str, ...], ...] = ()
    write: tuple[tuple[Path, str], ...] = ()
    remove: tuple[Path, ...] = ()
    run: tuple[tuple[str, ...], ...] = ()


def quoted(word: str, *, command: bool = False) -> str:
    """A word as systemd reads it back; `$` means something in command lines only.

    Raises:
        InvalidRequestError: it has control characters.
    """
    if not word.isprintable():
        raise InvalidRequestError(f"{word!r} cannot be written into a systemd unit")
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped.replace("$", "$$") if command else escaped}"'


def render(variant: Variant, command: Sequence[str], environment: Mapping[str, str]) -> str:
    """The unit's text for this installation."""
    name = UNIT if variant is Variant.SYSTEM else "gpumodd-user.service"
    template = (shipped("systemd") / name).read_text(encoding="utf-8")
    exec_line = " ".join(quoted(word, command=True) for word in command)
    pairs = " ".join(quoted(f"{name}={value}") for name, value in environment.items())
    return template.replace("@EXEC@", exec_line).replace("@ENVIRONMENT@", pairs)


def environment(variant: Variant, env: Mapping[str, str], *, engine_user: str | None) -> dict[str, str]:
    """What the daemon's unit has in its environment.

    A user's unit gets the PATH of the shell that installs it, so that it finds the same engines.
    """
    path = _SYSTEM_PATH if variant is Variant.SYSTEM else _absolute(env.get("PATH", "")) or _SYSTEM_PATH
    found = {"PATH": path}
    if config := env.get("GPUMOD_CONFIG"):
        found["GPUMOD_CONFIG"] = os.path.abspath(config)  # noqa: PTH100 - without following links
    if variant is Variant.SYSTEM and engine_user is None:
        found["GPUMOD_ENGINE_USER"] = ENGINE_USER
    return found


def _absolute(path: str) -> str:
    """PATH without what depends on the current directory."""
    return ":".join(
        dict.fromkeys(part for part in path.split(":") if part.startswith("/") and part.isprintable())
    )


def unit_file(variant: Variant, env: Mapping[str, str]) -> Path:
    """Where the unit belongs."""
    if variant is Variant.SYSTEM:
        return Path("/etc/systemd/system") / UNIT
    base = env.get("XDG_CONFIG_HOME") or f"{env.get('HOME', '/')}/.config"
    return Path(base) / "systemd/user" / UNIT


def manager(variant: Variant) -> tuple[str, ...]:
    """The beginning of a systemctl command."""
    return ("systemctl",) if variant is Variant.SYSTEM else ("systemctl", "--user")


def installation(variant: Variant, env: Mapping[str, str], text: str, *, user: str) -> Install:
    """Everything that brings the daemon up now and at each boot. Running engines are not touched.

    `restart`, not only `enable --now`: a unit that ran before has to take its new text.

    Args:
        variant: whose service manager.
        env: the environment of whoever installs.
        text: the unit.
        user: who installs; named to loginctl, which else asks for a session that ssh or cron may not have.
    """
    systemctl = manager(variant)
    unit = (unit_file(variant, env), text)
    # Answered by any manager that runs, and it changes nothing.
    first = ((*systemctl, "show-environment"),)
    up = ((*systemctl, "daemon-reload"), (*systemctl, "enable", UNIT), (*systemctl, "restart", UNIT))
    if variant is Variant.USER:
        lasting = () if lingers(user) else (("loginctl", "enable-linger", user),)
        return Install(first=first, write=(unit,), run=(*up, *lasting))
    users, home = ("systemd-sysusers", _SYSUSERS), ("systemd-tmpfiles", "--create", _TMPFILES)
    files = (
        _shipped_file(_SYSUSERS, "gpumod.sysusers.conf"),
        _shipped_file(_TMPFILES, "gpumod.tmpfiles.conf"),
    )
    return Install(first=first, write=(*files, unit), run=(users, home, *up))


def lingers(user: str) -> bool:
    """Whether a user's services run without a login, as logind keeps it."""
    return Path(_LINGER, user).exists()


def _shipped_file(target: str, name: str) -> tuple[Path, str]:
    return Path(target), (shipped("systemd") / name).read_text(encoding="utf-8")


def removal(variant: Variant, env: Mapping[str, str]) -> Install:
    """Everything that takes the daemon away again; its state, the user and running engines stay."""
    systemctl = manager(variant)
    return Install(
        remove=(unit_file(variant, env),),
        run=((*systemctl, "disable", "--now", UNIT), (*systemctl, "daemon-reload")),
    )


Run = Callable[[Sequence[str]], str]
"""Runs a command; answers what went wrong, empty when nothing did."""


def run_command(command: Sequence[str]) -> str:
    """Run a command to its end."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_BOUND, check=False
        )
    except FileNotFoundError:
        return f"{command[0]} is not installed"
    except subprocess.TimeoutExpired:
        return f"no end after {_BOUND:g} s"
    return (
        "" if done.returncode == 0 else (done.stderr or done.stdout).strip() or f"exit code {done.returncode}"
    )


def apply(install: Install, run: Run = run_command) -> tuple[str, ...]:
    """Carry an installation out; what was done, in words.

    Raises:
        NotAllowedError: a file may not be written.
        GpumodError: a command failed; the sentence says which, and what it said.
    """
    if install.remove:
        return _undo(install, run)
    _commands(install.first, run)
    done: list[str] = []
    for path, text in install.write:
        _write(path, text)
        done.append(f"wrote {path}")
    return (*done, *_commands(install.run, run))


def _undo(install: Install, run: Run) -> tuple[str, ...]:
    """Take the files away between the first command, which stops the daemon, and the others.

    A manager that does not answer is no reason to leave them.
    """
    done: list[str] = []
    failed: list[str] = []

    def attempt(commands: Sequence[Sequence[str]]) -> None:
        try:
            done.extend(_commands(commands, run))
        except GpumodError as error:
            failed.append(error.detail)

    attempt(install.run[:1])
    done += [f"removed {path}" for path in install.remove if _remove(path)]
    attempt(install.run[1:])
    if failed:
        raise GpumodError("; ".join([*failed, *(f"{one} all the same" for one in done)]))
    return tuple(done)


def _commands(commands: Sequence[Sequence[str]], run: Run) -> list[str]:
    done = []
    for command in commands:
        line = " ".join(command)
        if problem := run(command):
            raise GpumodError(f"`{line}` failed: {problem}. {_hint(command, problem)}".rstrip())
        done.append(f"ran `{line}`")
    return done


def _hint(command: Sequence[str], problem: str) -> str:
    if "is not installed" in problem or "not been booted with systemd" in problem:
        return "Without systemd, start `gpumodd` by what starts services on this box"
    if "connect to" in problem and "--user" in command:
        return "No user manager answers: log in as this user (not by su or sudo), or use --system as root"
    if command[0] == "loginctl":
        return (
            f"The daemon runs, but ends with your last login: `sudo {' '.join(command)}` once, then it stays"
        )
    if "restart" in command:
        user = " --user" if "--user" in command else ""
        return f"Its log: `journalctl{user} -u {UNIT} -n 50`"
    return ""


def _write(path: Path, text: str) -> None:
    """Write a file as a whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=".gpumod", delete=False
        ) as file:
            file.write(text)
        Path(file.name).chmod(0o644)
        Path(file.name).replace(path)
    except PermissionError as error:
        raise NotAllowedError(f"{path} may not be written: run it as root, or install with --user") from error
    except OSError as error:
        raise GpumodError(f"{path} cannot be written: {error.strerror}") from error


def _remove(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except PermissionError as error:
        raise NotAllowedError(f"{path} may not be removed: run it as root, or use --user") from error
    return True
