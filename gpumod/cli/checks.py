"""What `gpumodctl doctor` looks at: each check says what was found, and what to do when that is not well."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gpumod.cli.unit import UNIT, Variant, lingers, manager, unit_file
from gpumod.client.address import reason
from gpumod.core.errors import ConfigError, GpumodError
from gpumod.core.spec import EngineKind
from gpumod.core.units import GIB, format_size

if TYPE_CHECKING:
    from gpumod.cli.session import Session
    from gpumod.config.settings import Settings
    from gpumod.core.switch import BoxStatus

_ASK: Final = 15.0
"""Seconds that a program may take to tell its version."""
_LITTLE: Final = GIB


class Verdict(StrEnum):
    """How a check came out. Only `bad` keeps gpumod from working."""

    OK = "ok"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check; `hint` says what to do."""

    check: str
    verdict: Verdict
    detail: str
    hint: str = ""


def ok(check: str, detail: str) -> Finding:
    """All is well."""
    return Finding(check, Verdict.OK, detail)


def note(check: str, detail: str, hint: str = "") -> Finding:
    """Worth knowing."""
    return Finding(check, Verdict.NOTE, detail, hint)


def bad(check: str, detail: str, hint: str = "") -> Finding:
    """Something has to be done."""
    return Finding(check, Verdict.BAD, detail, hint)


def all_checks(session: Session, config: Path | None) -> Iterator[Finding]:
    """Every check, the cheap ones first."""
    status = _status(session)
    yield _daemon(session, status)
    settings, finding = _settings(config)
    yield finding
    if settings is not None:
        yield from _catalog(settings)
        yield _state_directory(settings.state_dir)
        yield from _ports(settings, reachable=isinstance(status, _box_status()))
    yield _driver(status)
    yield from _engines(settings)
    yield from _systemd(os.environ, os.getuid())


def _box_status() -> type[BoxStatus]:
    from gpumod.core.switch import BoxStatus

    return BoxStatus


# --- the daemon -----------------------------------------------------------------------------


def _status(session: Session) -> BoxStatus | GpumodError:
    try:
        return session.client.status()
    except GpumodError as error:
        return error


def _daemon(session: Session, status: BoxStatus | GpumodError) -> Finding:
    if isinstance(status, GpumodError):
        return bad("daemon", status.detail)
    return ok(
        "daemon", f"gpumodd {status.version} at {session.address}, {status.state} in mode {status.mode}"
    )


# --- configuration --------------------------------------------------------------------------


def _settings(config: Path | None) -> tuple[Settings | None, Finding]:
    from gpumod.config.settings import config_dir, load_settings

    try:
        settings = load_settings(config)
    except ConfigError as error:
        return None, bad("settings", error.detail, "`gpumodctl config check` shows every mistake")
    there = settings.config_file.exists()
    where = str(settings.config_file) if there else f"none in {config_dir(config)}, defaults hold"
    return settings, ok("settings", where)


def _catalog(settings: Settings) -> Iterator[Finding]:
    from gpumod.config.catalog import load_catalog

    catalog = load_catalog(settings)
    mistakes = [problem for problem in catalog.problems if not problem.warning]
    presets, modes = len(catalog.presets), len(catalog.modes) - 1
    found = f"{presets} preset{'s' * (presets != 1)}, {modes} mode{'s' * (modes != 1)} besides blank"
    if mistakes:
        count = f"{len(mistakes)} mistake{'s' if len(mistakes) > 1 else ''}"
        yield bad("files", f"{found}; {count} disable some", "`gpumodctl config check` shows them")
    elif not catalog.presets:
        yield note("files", found, "`gpumodctl init` finds models and writes presets for them")
    else:
        yield ok("files", found)


def _state_directory(path: Path) -> Finding:
    there = path
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        what = "is" if there == path else f"cannot be made: {there} is"
        return bad("state", f"{path} {what} no directory", "move that file away, or set state_dir")
    if not os.access(there, os.W_OK | os.X_OK):
        hint = "it belongs to the user that runs the daemon" if path.exists() else "make it, or set state_dir"
        return note("state", f"{path} may not be written by you", hint)
    free = shutil.disk_usage(there).free
    if free < _LITTLE:
        return bad("state", f"{path}: only {format_size(free)} of disk are free", "make room")
    return ok("state", f"{path}{'' if path.exists() else ', not made yet'}, {format_size(free)} free")


def _ports(settings: Settings, *, reachable: bool) -> Iterator[Finding]:
    for listen in settings.listen:
        where = f"{listen.host}:{listen.port}"
        why = _why_not_free(listen.host, listen.port)
        if not why:
            yield ok("port", f"{where} is free")
        elif reachable:
            yield ok("port", f"{where}: {why}, and a daemon answers")
        else:
            hint = f"`ss -ltnp sport = :{listen.port}` names its holder; `listen:` takes another port"
            yield bad("port", f"{where}: {why}, and no daemon answers", hint)


def _why_not_free(host: str, port: int) -> str:
    """Why a port cannot be listened on; empty if it can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind((host, port))
        except OSError as error:
            return reason(error)
    return ""


# --- hardware and engines -------------------------------------------------------------------


def _driver(status: BoxStatus | GpumodError) -> Finding:
    if isinstance(status, GpumodError):
        return _driver_without_daemon(Path("/proc/driver/nvidia/version"), Path("/sys/bus/pci/devices"))
    reading = status.reading
    if reading.driver == "ok":
        return ok("driver", f"NVIDIA {reading.driver_version}, {len(reading.cards)} cards".replace("  ", " "))
    if reading.driver == "absent":
        return note("driver", f"no NVIDIA card is used: {reading.reason or 'none is on this box'}")
    return bad("driver", f"{reading.driver.replace('_', ' ')}: {reading.reason}")


def _driver_without_daemon(version: Path, devices: Path) -> Finding:
    """What the kernel tells. The driver's library itself is the daemon's business."""
    with contextlib.suppress(OSError):
        return ok("driver", version.read_text(encoding="utf-8").splitlines()[0])
    cards = [device for device in devices.glob("*") if _is_card(device)]
    if cards:
        detail = f"{len(cards)} NVIDIA cards are on the bus, but the driver's module is not loaded"
        return bad("driver", detail, "`modprobe nvidia`, or install the driver")
    return note("driver", "no NVIDIA card is on this box; the host's memory is the card")


def _is_card(device: Path) -> bool:
    """Whether a PCI device is an NVIDIA display or 3D controller (class 03)."""
    try:
        vendor = (device / "vendor").read_text(encoding="ascii").strip()
        kind = (device / "class").read_text(encoding="ascii").strip()
    except OSError:
        return False
    return vendor == "0x10de" and kind.startswith("0x03")


def _engines(settings: Settings | None) -> Iterator[Finding]:
    from gpumod.config.settings import EnginePrograms

    chosen = settings.engines if settings else EnginePrograms()
    found = [
        _engine(EngineKind.LLAMA_CPP, "llama-server", chosen.llama_cpp),
        _embedded() if chosen.llama_cpp != "embedded" else None,
        _engine(EngineKind.VLLM, "vllm", chosen.vllm),
        *(_container(name, configured=name == chosen.container) for name in ("podman", "docker")),
    ]
    present = [finding for finding in found if finding is not None]
    yield from present
    if all(finding.verdict is not Verdict.OK for finding in present):
        hint = "put llama-server, vllm or podman on the PATH, or set `engines:`"
        yield bad("engines", "none works" if present else "none found", hint)


def _engine(kind: EngineKind, usual: str, configured: str | None) -> Finding | None:
    """What a program of an engine says of itself; None where there is none and none is configured.

    One that nobody configured and that does not work is no fault: presets may name others.
    """
    if configured is None and shutil.which(usual) is None:
        return None
    from gpumod.discovery.programs import ask_program

    build = asyncio.run(ask_program(kind, configured or usual))
    if isinstance(build, str):
        return bad(kind, build, "`engines:` in config.yaml names it") if configured else note(kind, build)
    return ok(kind, f"{build.path}, version: {build.version}")


def _container(name: str, *, configured: bool) -> Finding | None:
    path = shutil.which(name)
    if path is None:
        hint = "install it, or take `engines.container` out of config.yaml"
        return bad("container", f"{name}, which is configured, is not in PATH", hint) if configured else None
    version, works = _version((path, "--version"))
    if works:
        return ok("container", f"{path}, {version}")
    return (bad if configured else note)("container", f"{path} does not run: {version}")


def _version(command: tuple[str, ...]) -> tuple[str, bool]:
    """What a program tells, the last line where it fails, and whether it ended well."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_ASK, check=False
        )
    except OSError as error:
        return reason(error), False
    except subprocess.TimeoutExpired:
        return f"it did not end within {_ASK:g} s", False
    lines = (done.stdout + done.stderr).strip().splitlines() or [f"exit code {done.returncode}"]
    return lines[0 if done.returncode == 0 else -1], done.returncode == 0


def _embedded() -> Finding | None:
    try:
        return ok(EngineKind.LLAMA_CPP, f"embedded, xllamacpp {importlib.metadata.version('xllamacpp')}")
    except importlib.metadata.PackageNotFoundError:
        return None


# --- systemd --------------------------------------------------------------------------------


def _systemd(env: Mapping[str, str], uid: int) -> Iterator[Finding]:
    installed = [variant for variant in Variant if unit_file(variant, env).exists()]
    if not Path("/run/systemd/system").is_dir():
        yield note("systemd", "not running here", "start `gpumodd` by what starts services on this box")
        return
    if not installed:
        yield note("unit", "not installed", "`gpumodctl doctor --install-unit` does it")
    for variant in installed:
        yield _unit(variant)
    if Variant.USER in installed:
        yield _linger(user_name(uid))


def _unit(variant: Variant) -> Finding:
    state = _said((*manager(variant), "is-active", UNIT))
    if state == "active":
        return ok("unit", f"the {variant} unit is active")
    flag = " --user" if variant is Variant.USER else ""
    return bad("unit", f"the {variant} unit is {state or 'not known'}", f"`journalctl{flag} -u {UNIT} -n 50`")


def _linger(user: str) -> Finding:
    if lingers(user):
        return ok("linger", f"on: the daemon of {user} starts at boot and outlives logins")
    return bad("linger", f"off: the daemon ends when {user} logs out", f"`loginctl enable-linger {user}`")


def user_name(uid: int) -> str:
    """A user's name; the number where there is none."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _said(command: tuple[str, ...]) -> str:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_ASK, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
