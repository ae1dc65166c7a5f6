"""What the scenes on real cards share. See docs/gpu-runs.md for how to run them and what they have shown."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pynvml
import pytest

from gpumod.core.names import CardId
from gpumod.core.units import MIB
from tests.gpu import inputs as given
from tests.gpu.gpu_box import GpuBox
from tests.gpu.report import Report, Scene, mib
from tests.gpu.witness import Witness

HOLDER = Path(__file__).with_name("holder.py")
_report = pytest.StashKey[Report]()


@dataclass(frozen=True)
class CardSeen:
    """A card as the driver tells it to this process."""

    uuid: str
    name: str
    index: int


@pytest.fixture(scope="session")
def cards() -> Iterator[list[CardSeen]]:
    """The NVIDIA cards of this machine, by PCI order."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        pytest.skip(f"no NVIDIA driver: {error}")
    try:
        found = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            # Whatever the library opens on the first question stays open: asked before any test is watched.
            pynvml.nvmlDeviceGetComputeRunningProcesses_v3(handle)
            found.append(CardSeen(pynvml.nvmlDeviceGetUUID(handle), pynvml.nvmlDeviceGetName(handle), index))
        yield found
    finally:
        pynvml.nvmlShutdown()


@pytest.fixture(scope="session")
def card(cards: list[CardSeen]) -> CardSeen:
    return cards[0]


@pytest.fixture(scope="session")
def inputs() -> given.Inputs:
    try:
        return given.read_inputs()
    except given.MissingInputError as problem:
        pytest.skip(str(problem))


@pytest.fixture(scope="session")
def report(request: pytest.FixtureRequest) -> Report:
    return request.config.stash.setdefault(_report, Report())


@pytest.fixture
def witness(card: CardSeen) -> Iterator[Witness]:
    with Witness(card.uuid) as witness:
        yield witness


@pytest.fixture(scope="session")
def needs(inputs: given.Inputs, card: CardSeen, report: Report) -> dict[str, int]:
    """What each model really takes on the card, seen once, and a little more: what the scenes declare."""
    scene = report.scene("What each model takes, and what was estimated before")
    with tempfile.TemporaryDirectory(prefix="gm-") as folder:
        box = GpuBox(Path(folder), inputs.server)
        try:
            box.service("a", inputs.a, [card.uuid])
            box.service("b", inputs.b, [card.uuid])
            box.start()
            held = {name: _taken(box, name, card, scene) for name in ("a", "b")}
        finally:
            box.close()
            _keep_logs(box, "needs")
    return {name: (size + size // 50 + 64 * MIB) // MIB * MIB for name, size in held.items()}


def _taken(box: GpuBox, name: str, card: CardSeen, scene: Scene) -> int:
    record = box.switch(name)
    assert record.state == "committed", f"{record.reason}\n{box.log()}"
    with box.client() as client:
        service = client.service(name)
    held = dict(service.observed)[CardId(card.uuid)]
    assert service.footprint is not None
    assert service.spec.model is not None
    scene.note(f"{name}: file", mib(Path(service.spec.model).stat().st_size))
    scene.note(f"{name}: {service.footprint.source} before the first launch", mib(service.footprint.cards[0]))
    scene.note(f"{name}: held after the first answer, by NVML", mib(held))
    box.switch("blank")
    return held


@pytest.fixture
def make_box(inputs: given.Inputs, request: pytest.FixtureRequest) -> Iterator[Callable[..., GpuBox]]:
    """Boxes that are gone, with everything on them, when the test is over."""
    boxes: list[GpuBox] = []
    with tempfile.TemporaryDirectory(prefix="gm-") as folder:

        def make(**options: Any) -> GpuBox:
            root = Path(folder) / str(len(boxes))
            root.mkdir()
            boxes.append(GpuBox(root, inputs.server, **options))
            return boxes[-1]

        yield make
        for number, box in enumerate(boxes):
            box.close()
            _keep_logs(box, f"{request.node.name}-{number}")


@pytest.fixture
def capped_box(
    make_box: Callable[..., GpuBox],
    inputs: given.Inputs,
    needs: dict[str, int],
    card: CardSeen,
    witness: Witness,
) -> Callable[..., tuple[GpuBox, int]]:
    """Makes boxes in which either model has room, and never both; and what one may give away in all.

    `slots` of each model share its context; `on_demand` is the modes' policy; the rest is the gateway's.
    """

    def make(*, slots: int = 1, on_demand: str = "ask", **gateway: str) -> tuple[GpuBox, int]:
        cap = max(needs.values()) + min(needs.values()) // 2
        headroom = max(0, witness.free - cap) // MIB * MIB
        box = make_box(headroom=headroom, gateway=gateway)
        for name, model in (("a", inputs.a), ("b", inputs.b)):
            context = model.context // slots  # of one slot: all together take what one of all takes
            keys = {"slots": slots, "context": context, "aliases": ["either"]}
            box.service(name, model, [card.uuid], needs[name], **keys)
            box.mode(name, name, on_demand=on_demand)
        box.mode("both", "a", "b", on_demand=on_demand)
        return box, witness.free - headroom

    return make


@pytest.fixture
def hold_memory(card: CardSeen) -> Iterator[Callable[[int], subprocess.Popen[bytes]]]:
    """Starts foreign processes that hold so many bytes; they are killed by pid when the test is over."""
    holders = []

    def hold(size: int) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": card.uuid}
        command = [sys.executable, str(HOLDER), str(size)]
        holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        holders.append(holder)
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n", "the holder did not get its memory"
        return holder

    yield hold
    for holder in holders:
        end(holder)


def end(holder: subprocess.Popen[bytes]) -> None:
    """Kill a holder and collect it."""
    if holder.poll() is None:
        holder.send_signal(signal.SIGKILL)
    holder.wait(30)
    for stream in (holder.stdin, holder.stdout):
        if stream is not None:
            stream.close()


def _keep_logs(box: GpuBox, name: str) -> None:
    if folder := os.environ.get(given.LOGS):
        kept = Path(folder) / name
        kept.mkdir(parents=True, exist_ok=True)
        for log in (box.root / "daemon.log", *(box.root / "state/logs").glob("*.log*")):
            if log.exists():
                shutil.copy(log, kept)


def pytest_terminal_summary(terminalreporter, config) -> None:
    report = config.stash.get(_report, None)
    if report is None:
        return
    terminalreporter.section("measured")
    terminalreporter.line(report.markdown())
    if path := os.environ.get(given.REPORT):
        report.write(Path(path))
