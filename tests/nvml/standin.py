"""Writes the files that the stand-in libnvidia-ml.so.1 (fakenvml.c) reads, and builds the library.

Standard library only: test engine servers import this too, to hold memory on a card as a real engine would.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

GIB: Final = 1024**3
MIB: Final = 1024**2

STATE_VARIABLE: Final = "FAKE_NVML_DIR"
LIBRARY: Final = "libnvidia-ml.so.1"
SOURCE: Final = Path(__file__).with_name("fakenvml.c")

# NVML's return codes and event types, from nvml.h.
NOT_SUPPORTED: Final = 3
NO_PERMISSION: Final = 4
DRIVER_NOT_LOADED: Final = 9
FUNCTION_NOT_FOUND: Final = 13
GPU_IS_LOST: Final = 15
VERSION_MISMATCH: Final = 18
UNKNOWN: Final = 999
EVENT_DOUBLE_BIT_ECC: Final = 2
EVENT_XID: Final = 8

FOR_EVER: Final = -1

ROOT_PID: Final = 1
"""A process that is always there and is never ours: who takes memory when nobody else is named."""


def card(number: int, total: int = 24 * GIB, **more: Any) -> dict[str, Any]:
    """One card of cards.json, with a UUID made from its number."""
    uuid = f"GPU-{number:08x}-0000-4000-8000-{number:012x}"
    return {
        "uuid": uuid,
        "name": "NVIDIA GeForce RTX 3090",
        "total": total,
        "reserved": 0,
        "bus": number + 1,
    } | more


def build(folder: Path, *flags: str) -> Path:
    """Compile the library into a folder; returns the folder, for LD_LIBRARY_PATH."""
    target = folder / LIBRARY
    command = ["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", f"-Wl,-soname,{LIBRARY}"]
    subprocess.run([*command, *flags, "-o", str(target), str(SOURCE), "-lpthread"], check=True, timeout=60)
    return folder


def can_build() -> bool:
    """Whether there is a C compiler."""
    return shutil.which("gcc") is not None


def hold(state: str | Path, pid: int, number: int, used: int, **more: Any) -> Path:
    """Let a process hold memory on a card until it ends, or until the file returned is removed.

    `more` are the keys of a process that fakenvml.c describes.
    """
    path = Path(state) / "procs" / f"{pid}-{number}.json"
    _replace(path, {"pid": pid, "card": number, "used": used} | more)
    return path


def _replace(path: Path, content: object) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    with os.fdopen(descriptor, "w") as file:
        json.dump(content, file)
    Path(temporary).chmod(0o644)
    Path(temporary).replace(path)


class Standin:
    """The cards of a box without cards: each change is a file replaced."""

    def __init__(self, state: Path, library: Path, cards: list[dict[str, Any]] | None = None) -> None:
        self.state = state
        self.library = library
        (state / "procs").mkdir(parents=True, exist_ok=True)
        self._events = 0
        self._content: dict[str, Any] = {
            "driver": "550.163.01",
            "cards": cards if cards is not None else [card(0), card(1)],
            "answers": [],
            "hangs": [],
            "events": [],
            "grabs": [],
        }
        self._write()

    @property
    def env(self) -> dict[str, str]:
        """What a subprocess needs in its environment to find the library and the cards."""
        return {"LD_LIBRARY_PATH": str(self.library), STATE_VARIABLE: str(self.state)}

    @property
    def uuids(self) -> list[str]:
        """The cards' ids."""
        return [one["uuid"] for one in self._content["cards"]]

    def set_cards(self, cards: list[dict[str, Any]]) -> None:
        """Other cards in place of these."""
        self._content["cards"] = cards
        self._write()

    def set_card(self, number: int, **changes: Any) -> None:
        """Change a card's keys."""
        self._content["cards"][number].update(changes)
        self._write()

    def hold(self, pid: int, number: int, used: int, **more: Any) -> Path:
        """As the function of that name."""
        return hold(self.state, pid, number, used, **more)

    def release(self, pid: int, number: int) -> None:
        """Give back what a process holds or what lingers after it."""
        (self.state / "procs" / f"{pid}-{number}.json").unlink(missing_ok=True)

    def answer(self, call: str, code: int, number: int | None = None) -> None:
        """Let a call answer a code from now on; `*` is every call about a card."""
        self._content["answers"].append(self._rule(call, number) | {"code": code})
        self._write()

    def answer_all(self) -> None:
        """Take back every `answer`."""
        self._content["answers"] = []
        self._write()

    def hang(self, call: str, number: int | None = None) -> None:
        """Let a call not return until `unhang`."""
        self._content["hangs"].append(self._rule(call, number))
        self._write()

    def unhang(self) -> None:
        """Let every hanging call return."""
        self._content["hangs"] = []
        self._write()

    def lose(self, number: int) -> None:
        """The card falls off the bus."""
        self.answer("*", GPU_IS_LOST, number)

    def bring_back(self) -> None:
        """Every lost card answers again."""
        self.answer_all()

    def watched(self, number: int) -> bool:
        """Whether somebody waits for events of the card; those before that nobody hears."""
        return (self.state / f"watched-{number}").exists()

    def xid(self, number: int, code: int) -> None:
        """The driver reports an Xid error of a card."""
        self._event(number, EVENT_XID, code)

    def ecc(self, number: int) -> None:
        """The driver reports a double-bit ECC error of a card."""
        self._event(number, EVENT_DOUBLE_BIT_ECC, 0)

    def grab(self, number: int, size: int, *, after: int, pid: int = ROOT_PID, **changes: Any) -> None:
        """From the (after + 1)th reading of the card's memory from now on, `pid` holds `size` bytes.

        `changes` are keys of the card that change at this very moment.
        """
        self._content["cards"][number].update(changes)
        self._content["grabs"].append({"card": number, "size": size, "after": after, "pid": pid})
        self._write()

    def reset(self) -> None:
        """Nothing is held, grabbed, hanging or answered wrongly any more."""
        self._content |= {"answers": [], "hangs": [], "grabs": []}
        for one in self._content["cards"]:
            one.pop("used", None)
            one.pop("mig", None)
        self._write()
        for path in (self.state / "procs").iterdir():
            path.unlink(missing_ok=True)

    def no_driver(self, code: int = DRIVER_NOT_LOADED) -> None:
        """The library cannot be initialised."""
        self.answer("nvmlInit", code)

    def _event(self, number: int, kind: int, code: int) -> None:
        self._events += 1
        self._content["events"].append({"seq": self._events, "card": number, "type": kind, "code": code})
        self._write()

    @staticmethod
    def _rule(call: str, number: int | None) -> dict[str, Any]:
        return {"call": call} if number is None else {"call": call, "card": number}

    def _write(self) -> None:
        _replace(self.state / "cards.json", self._content)
