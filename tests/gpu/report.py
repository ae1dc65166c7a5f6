"""What the scenes measured, as Markdown to read and as JSON to compare."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpumod.core.plan import StepKind
from gpumod.core.switch import Phase
from gpumod.core.units import MIB

if TYPE_CHECKING:
    from gpumod.core.switch import StepRecord, SwitchRecord
    from tests.gpu.witness import Witness

_SETTLED = 8 * MIB
"""Memory counts as back when no more than this is missing from what is free in the end."""


@dataclass
class Scene:
    """The measurements of one test."""

    title: str
    numbers: list[tuple[str, str]] = field(default_factory=list)
    switches: list[dict[str, Any]] = field(default_factory=list)

    def note(self, what: str, value: str) -> None:
        """One number, with its unit."""
        self.numbers.append((what, value))

    def switch(self, title: str, record: SwitchRecord, witness: Witness) -> None:
        """The steps of a switch as its journal has them, and what the witness saw free meanwhile."""
        steps = [_step(one, witness) for one in record.steps if one.started is not None]
        took = (record.ended or record.started) - record.started
        outcome = f"{record.state} ({record.left})" + (f": {record.reason}" if record.reason else "")
        self.switches.append(
            {
                "switch": title,
                "seconds": took,
                "outcome": outcome,
                "steps": steps,
                "release": _release(record, witness),
            }
        )


class Report:
    """All scenes, in the order in which they were played."""

    def __init__(self) -> None:
        self.scenes: list[Scene] = []

    def scene(self, title: str) -> Scene:
        """A new scene."""
        self.scenes.append(Scene(title))
        return self.scenes[-1]

    def write(self, path: Path) -> None:
        """Write PATH.json and PATH.md."""
        scenes = [vars(scene) for scene in self.scenes]
        path.with_suffix(".json").write_text(json.dumps(scenes, indent=1))
        path.with_suffix(".md").write_text(self.markdown())

    def markdown(self) -> str:
        """Tables, scene by scene."""
        return "\n".join(line for scene in self.scenes for line in _lines(scene))


def mib(size: float) -> str:
    """Bytes in words."""
    return f"{size / MIB:,.0f} MiB"


def ms(seconds: float) -> str:
    """Seconds in words."""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    return f"{seconds * 1000:,.1f} ms" if seconds < 1 else f"{seconds:,.2f} s"


def _step(one: StepRecord, witness: Witness) -> dict[str, Any]:
    started, ended = one.started or 0.0, one.ended or one.started or 0.0
    return {
        "step": f"{'' if one.phase == 'do' else 'undo: '}{one.phrase}",
        "seconds": ended - started,
        "state": one.state.value,
        "free_before": witness.free_at(started),
        "free_after": witness.free_at(ended),
        "detail": one.detail,
    }


def _release(record: SwitchRecord, witness: Witness) -> dict[str, float] | None:
    """From the beginning of the first stop: when the memory was back, and when it was proven to be."""
    ended = [one for one in record.steps if one.phase is Phase.DO and one.ended is not None]
    stops = [one for one in ended if one.kind is StepKind.STOP]
    proofs = [one for one in ended if one.kind is StepKind.RELEASE]
    if not stops or not proofs:
        return None
    began, stopped, proven = stops[0].started or 0.0, stops[-1].ended or 0.0, proofs[0].ended or 0.0
    back = witness.first(witness.free_at(proven) - _SETTLED, began)
    if back is None:
        return None
    return {"gone": stopped - began, "back": back - began, "proven": proven - began}


def _lines(scene: Scene) -> list[str]:
    lines = [f"### {scene.title}", ""]
    if scene.numbers:
        lines += _table("what", "measured")
        lines += [_row(what, value) for what, value in scene.numbers] + [""]
    for switch in scene.switches:
        lines += [f"**{switch['switch']}**: {ms(switch['seconds'])}, {switch['outcome']}", ""]
        lines += _table("step", "took", "free before", "free after", "what was seen")
        lines += [_step_row(step) for step in switch["steps"]] + [""]
        if switch["release"]:
            gone, back, proven = (ms(switch["release"][name]) for name in ("gone", "back", "proven"))
            seen = f"processes gone {gone}, memory back {back} by the witness, proven {proven}"
            lines += [f"From the first stop on: {seen}.", ""]
    return lines


def _step_row(step: dict[str, Any]) -> str:
    state = "" if step["state"] == "done" else f"**{step['state']}** "
    sizes = (mib(step["free_before"]), mib(step["free_after"]))
    return _row(step["step"], ms(step["seconds"]), *sizes, f"{state}{step['detail']}")


def _table(*heads: str) -> list[str]:
    return [_row(*heads), "|" + " --- |" * len(heads)]


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
