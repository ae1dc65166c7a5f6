"""What a switch costs on top of the engine's own times, and when its readiness is noticed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpumod.testing.bench.box import BenchBox, BenchError, box, folder
from gpumod.testing.bench.engine import BareEngine
from gpumod.testing.bench.numbers import Figure, Finding, Goal, alone, compared, in_turns
from gpumod.testing.engine_server import Script
from gpumod.testing.gguf import of_size, write_gguf

if TYPE_CHECKING:
    from collections.abc import Iterable

_MIB = 1024**2
_LOAD_SECONDS = 2.0
_FIRST_MODEL = 512
_MODEL_BOUNDS = (128, 2048)
"""MiB of the model that is made to load in about two seconds."""
_RATIO = Goal(Figure.RATIO, 1.05)
_ABSOLUTE = Goal(Figure.DIFFERENCE, 60.0)
_NOTICED = re.compile(r"^timed (\w+) ([0-9.]+)$", re.MULTILINE)


@dataclass(slots=True)
class Steps:
    """Seconds of journal steps by kind, over many switches."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    def add(self, record: dict[str, Any]) -> None:
        """Take over the steps of one switch that take time."""
        for step in record["steps"]:
            if step["started"] is not None and step["ended"] is not None:
                self.seconds.setdefault(step["kind"], []).append(step["ended"] - step["started"])


def scripted(rounds: int) -> list[Finding]:
    """Overhead and readiness with an engine that needs two seconds to load, by the clock."""
    with folder() as root, box(root / "box", limit=4096) as bench:
        for name in ("a", "b"):
            bench.scripted(name, Script(load_time=_LOAD_SECONDS, host_mib=32, log_times=True))
        bench.start()
        return [*_overhead(bench, "scripted engine", rounds), _noticed(bench)]


def llama(rounds: int) -> list[Finding]:
    """The same with real llama.cpp and a model that loads in about two seconds."""
    with folder() as root:
        megabytes = _model_size(root)
        with box(root / "box", limit=2 * _takes(megabytes)) as bench:
            for name in ("a", "b"):
                model = root / f"{name}.gguf"
                write_gguf(model, of_size(megabytes * _MIB), name=name)
                bench.llama(name, model, vram=_takes(megabytes))
            bench.start()
            return _overhead(bench, f"llama.cpp, {megabytes} MiB", rounds)


def _model_size(root: Path) -> int:
    """MiB of a model that loads in about two seconds here when nothing is in its way."""
    with box(root / "try", limit=2 * _takes(_FIRST_MODEL)) as bench:
        model = write_gguf(root / "try.gguf", of_size(_FIRST_MODEL * _MIB))
        bench.llama("try", model, vram=_takes(_FIRST_MODEL))
        bench.start()
        engine = _bare(bench, "try", root / "try.log")
        load = min(engine.once().load for _ in range(5))
    model.unlink()
    least, most = _MODEL_BOUNDS
    return round(min(max(_FIRST_MODEL * _LOAD_SECONDS / load, least), most))


def _takes(megabytes: int) -> int:
    """MiB that llama.cpp takes for a model of that size, with room for its buffers and its cache."""
    return megabytes * 3 // 2 + 256


def _overhead(bench: BenchBox, what: str, rounds: int) -> list[Finding]:
    first, second = (_bare(bench, name, bench.root / f"alone-{name}.log") for name in ("a", "b"))
    steps = Steps()

    def there_and_back() -> tuple[float, float]:
        up, record = bench.switch("a")
        steps.add(record)
        down, record = bench.switch("blank")
        steps.add(record)
        return up, down

    ours, bare = in_turns(rounds, there_and_back, first.once)

    def replaced() -> float:
        bench.switch("a")
        took, record = bench.switch("b")
        steps.add(record)
        bench.switch("blank")
        return took

    over, bare_over = in_turns(rounds, replaced, lambda: _replace(first, second))
    beside = "engine alone"
    return [
        compared(
            f"{what}: blank to a",
            "ms",
            _ms(up for up, _ in ours),
            beside,
            _ms(one.load for one in bare),
            _RATIO,
            _ABSOLUTE,
        ),
        compared(
            f"{what}: a to blank",
            "ms",
            _ms(down for _, down in ours),
            beside,
            _ms(one.gone for one in bare),
            _ABSOLUTE,
        ),
        compared(
            f"{what}: blank to a to blank",
            "ms",
            _ms(up + down for up, down in ours),
            beside,
            _ms(one.whole for one in bare),
            _RATIO,
        ),
        compared(f"{what}: a to b", "ms", _ms(over), beside, _ms(bare_over), _RATIO, _ABSOLUTE),
        *(alone(f"{what}: step {kind}", "ms", _ms(taken)) for kind, taken in steps.seconds.items()),
    ]


def _bare(bench: BenchBox, service: str, log: Path) -> BareEngine:
    """The engine of a service with the very command that gpumod ran; nothing is left running."""
    bench.switch(service)
    launch = bench.launch(service)
    bench.switch("blank")
    return BareEngine(launch, log)


def _replace(first: BareEngine, second: BareEngine) -> float:
    """A script's own switch: one engine ends, then the other starts and answers."""
    first.up()
    took = first.down()
    took += sum(second.up())
    second.down()
    return took


def _noticed(bench: BenchBox) -> Finding:
    """From the engine's ready moment to the first request that it gets: ours, and a script's poll."""
    ours = _delays(bench.service_log("a"))
    other = _delays((bench.root / "alone-a.log").read_text())
    if not ours or not other:
        raise BenchError("the scripted engine did not log its times")
    count = min(len(ours), len(other))
    return compared(
        "ready to first request",
        "ms",
        ours[-count:],
        "polled every 5 ms",
        other[-count:],
        Goal(Figure.OURS, 20.0),
    )


def _delays(log: str) -> list[float]:
    """Milliseconds between the lines `timed ready` and `timed request` of each run."""
    delays, ready = [], None
    for what, at in _NOTICED.findall(log):
        if what == "ready":
            ready = float(at)
        elif what == "request" and ready is not None:
            delays.append((float(at) - ready) * 1000)
            ready = None
    return delays


def _ms(seconds: Iterable[float]) -> list[float]:
    return [one * 1000 for one in seconds]
