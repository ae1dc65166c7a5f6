"""Memory of the NVML stand-in's cards, as a scripted engine takes it.

A card that has not so much left gives nothing, as a real one does: an engine that is started too early fails.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from pathlib import Path
from typing import Any, Final

_MIB: Final = 1024**2


def take(state: str, sizes: int | list[int], keys: dict[str, Any]) -> bool:
    """Take memory of every visible card until this process ends; False if one has too little.

    Args:
        state: the stand-in's folder.
        sizes: MiB of each card, or of all of them.
        keys: further keys of what the stand-in is told.
    """
    with Path(state, "allocating").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        box = json.loads(Path(state, "cards.json").read_text())
        for position, number in enumerate(_visible(box)):
            size = (sizes[position] if isinstance(sizes, list) else sizes) * _MIB
            if size > _room_on(state, box, number):
                return False
            path = Path(state, "procs", f"{os.getpid()}-{number}.json")
            partial = path.with_suffix(".new")
            partial.write_text(json.dumps({"pid": os.getpid(), "card": number, "used": size, **keys}))
            partial.replace(path)
    return True


def _visible(box: dict[str, Any]) -> list[int]:
    """Numbers of the cards that CUDA_VISIBLE_DEVICES shows, by UUID or index."""
    uuids = [card["uuid"] for card in box["cards"]]
    names = os.environ.get("CUDA_VISIBLE_DEVICES")
    if names is None:
        return list(range(len(uuids)))
    return [uuids.index(name) if name in uuids else int(name) for name in names.split(",") if name]


def _room_on(state: str, box: dict[str, Any], number: int) -> int:
    """Bytes that can still be allocated on a card; memory that lingers or was grabbed cannot."""
    card = box["cards"][number]
    room: int = card["total"] - card.get("reserved", 0) - card.get("used", 0)
    room -= sum(grab["size"] for grab in box.get("grabs", ()) if grab["card"] == number)
    for path in Path(state, "procs").glob("[!.]*.json"):
        with contextlib.suppress(FileNotFoundError):
            one = json.loads(path.read_text())
            if one["card"] == number and (one.get("linger") == -1 or _alive(one["pid"])):
                room -= one["used"]
    return room


def _alive(pid: int) -> bool:
    """Whether a process still has its memory, by the stand-in's rule: a zombie has none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] not in "ZX" or int(fields[17]) > 1
