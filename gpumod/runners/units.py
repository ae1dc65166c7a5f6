"""What we say to systemd and how we read what it says: names, properties, states. No I/O.

Sources: systemd.unit(5), systemd.exec(5) (its table of exit statuses), org.freedesktop.systemd1(5).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from dbus_fast import Variant

from gpumod.core.names import ServiceId
from gpumod.core.ports import Liveness
from gpumod.core.service import ExitReport, RunKey
from gpumod.runners.program import DEFAULT_CWD

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpumod.core.ports import RunRequest

SLICE = "gpumod.slice"
"""All services of all daemons on a machine, for accounting and for `systemd-cgls`."""
START_SECONDS = 30.0
"""How long systemd may take to execute a program."""
_STOP_SECONDS = 10.0
_MORE_KILLABLE = 100
_CLD_EXITED = 1
_PREFIX = "gpumod-"
_STARTING = frozenset({"activating", "active", "reloading", "refreshing", "deactivating"})
# Exit statuses with which systemd says that it could not even execute the program.
_SYSTEMD_STATUSES = range(200, 244)
_STEPS = {200: "cwd", 203: "program", 209: "log", 210: "log", 216: "user", 217: "user"}


def unit_name(instance: str, key: RunKey) -> str:
    """An attempt's unit. The same names always, so that a later daemon finds what runs."""
    return f"{_PREFIX}{_escape(instance)}-{_escape(key.service, '-')}-g{key.generation}.service"


def unit_key(instance: str, name: str) -> RunKey | None:
    """Whose unit it is; None when it is not one of this instance."""
    found = re.fullmatch(rf"{re.escape(_PREFIX + _escape(instance))}-(.+)-g(\d+)\.service", name)
    return RunKey(ServiceId(_unescape(found[1])), int(found[2])) if found else None


def unit_pattern(instance: str) -> str:
    """A glob over the names of an instance's units, and perhaps a few more."""
    return _PREFIX + _escape(instance).replace("\\", "?") + "-*-g*.service"


def unit_path(name: str) -> str:
    """A unit's D-Bus object."""
    encoded = re.sub(r"[^A-Za-z0-9]|^[0-9]", lambda found: f"_{ord(found[0]):02x}", name)
    return f"/org/freedesktop/systemd1/unit/{encoded}"


def unit_properties(
    request: RunRequest, program: str, *, system: bool, daemon_unit: str = ""
) -> list[list[Any]]:
    """The transient unit of an attempt, as StartTransientUnit takes it."""
    key = request.key
    # Variables in arguments are not expanded; % means nothing over D-Bus.
    command = [program, list(request.argv), ["no-env-expand"]]
    properties: dict[str, Variant] = {
        "Description": Variant("s", f"gpumod: {key.service}, generation {key.generation}"),
        "Type": Variant("s", "exec"),
        "Slice": Variant("s", SLICE),
        "ExecStartEx": Variant("a(sasas)", [command]),
        "Environment": Variant("as", [f"{name}={value}" for name, value in request.env]),
        "WorkingDirectory": Variant("s", request.cwd or DEFAULT_CWD),
        "StandardInput": Variant("s", "null"),
        "StandardOutputFileToAppend": Variant("s", request.log),
        "StandardErrorFileToAppend": Variant("s", request.log),
        "IgnoreSIGPIPE": Variant("b", False),
        # Only the daemon restarts, through admission and barrier.
        "Restart": Variant("s", "no"),
        # Else an exit with code 0 is forgotten before it could be read.
        "RemainAfterExit": Variant("b", True),
        "KillMode": Variant("s", "control-group"),
        "SendSIGKILL": Variant("b", True),
        "TimeoutStartUSec": Variant("t", int(START_SECONDS * 1e6)),
        "TimeoutStopUSec": Variant("t", int(_STOP_SECONDS * 1e6)),
        "OOMPolicy": Variant("s", "kill"),
    }
    if daemon_unit:
        # When the machine goes down the daemon is stopped first: no engine's end looks like a crash to it.
        properties["Before"] = Variant("as", [daemon_unit])
    if request.memory_max is not None:
        properties["MemoryMax"] = Variant("t", request.memory_max)
    if system:
        properties["OOMScoreAdjust"] = Variant("i", _MORE_KILLABLE)
        if request.user is not None:
            properties["User"] = Variant("s", request.user)
    return [[name, value] for name, value in properties.items()]


class UnitState:
    """A unit's properties, read as an attempt."""

    def __init__(self, key: RunKey, properties: Mapping[str, Any]) -> None:
        self._key = key
        self._properties = properties

    @property
    def liveness(self) -> Liveness:
        """Whether the leader runs, has ended, or never was."""
        if self._properties.get("LoadState") == "not-found":
            return Liveness.ABSENT
        if self.exit is not None or self._properties["ActiveState"] == "failed":
            return Liveness.EXITED
        starting = self._properties["ActiveState"] in _STARTING or self._properties["Job"][0]
        return Liveness.RUNNING if starting else Liveness.ABSENT

    @property
    def leader(self) -> int:
        """The leader's pid while it lives, else 0."""
        return int(self._properties.get("MainPID", 0))

    @property
    def remains(self) -> bool:
        """It has to be stopped before systemd forgets it."""
        return self._properties.get("ActiveState") in _STARTING

    @property
    def exit(self) -> ExitReport | None:
        """How the leader ended; None while it runs or when it never did."""
        at = self._properties.get("ExecMainExitTimestamp", 0)
        if not at:
            return None
        number = int(self._properties["ExecMainStatus"])
        exited = self._properties["ExecMainCode"] == _CLD_EXITED
        return ExitReport(
            self._key,
            code=number if exited else None,
            signal=None if exited else number,
            at=at / 1e6,
            out_of_memory=self._properties["Result"] == "oom-kill",
        )

    @property
    def failed_step(self) -> str:
        """Which step kept the program from being executed; empty when systemd does not say."""
        return _STEPS.get(self.exit.code or 0, "") if self.exit else ""

    @property
    def executed(self) -> bool:
        """The program ran. One that ends at once can fail the job that started it all the same."""
        code = self.exit.code if self.exit else None
        return self.exit is not None and (code is None or code not in _SYSTEMD_STATUSES)

    @property
    def result(self) -> str:
        """Systemd's own word for what went wrong."""
        status = self._properties.get("ExecMainStatus", 0)
        return f"result {self._properties.get('Result', 'unknown')}, status {status}"


def _escape(text: str, keep: str = "") -> str:
    r"""As systemd-escape(1) does, \xNN for what a name cannot have, except that `keep` stays."""
    safe = "_" + keep
    characters = (
        character
        if (character.isascii() and character.isalnum()) or character in safe or (character == "." and index)
        else "".join(f"\\x{byte:02x}" for byte in character.encode())
        for index, character in enumerate(text)
    )
    return "".join(characters)


def _unescape(text: str) -> str:
    plain = re.sub(rb"\\x([0-9a-f]{2})", lambda found: bytes([int(found[1], 16)]), text.encode())
    return plain.decode(errors="replace")
