"""Records with every field filled in, and a database that is made once."""

import shutil
import sqlite3
import tempfile
from contextlib import closing
from functools import cache
from pathlib import Path

from gpumod.core.footprint import Footprint, Measurement, Part, Source
from gpumod.core.lease import Lease
from gpumod.core.names import BLANK, CardId, ModeId, PresetId, ServiceId
from gpumod.core.plan import StepKind
from gpumod.core.service import Desired, FileIdentity, Launch, ServiceRecord
from gpumod.core.spec import (
    CardRequest,
    CommandOptions,
    ContainerOptions,
    DeclaredMemory,
    Draft,
    EngineKind,
    KvCache,
    Mount,
    OnFailure,
    ServiceSpec,
    Split,
)
from gpumod.core.states import ServiceState
from gpumod.core.switch import Phase, StepRecord, SwitchRecord, SwitchRequest, SwitchState
from gpumod.store import open_store
from gpumod.store.schema import prepare
from gpumod.testing.clock import FakeClock

CHAT, EMBED = ServiceId("chat"), ServiceId("embed")
CARDS = (CardId("GPU-1"), CardId("GPU-2"))
SPEC = ServiceSpec(
    id=CHAT,
    preset=PresetId("gemma"),
    engine=EngineKind.LLAMA_CPP,
    model="/models/ä.gguf",
    context=131072,
    kv_cache=KvCache("q8_0", "q8_0"),
    draft=Draft("mtp", n_max=2),
    vram=DeclaredMemory((20500 * 2**20,), force=True),
    cards=CardRequest(2, ("GPU-1", "GPU-2")),
    split=Split(ratio=(1.0, 2.5)),
    sampler=(("temperature", 1.0), ("top_p", 0.95)),
    aliases=("hermes",),
    args=("--jinja",),
    env=(("A", "1"), ("B", "")),
    container=ContainerOptions("image", mounts=(Mount("/a", "/b"),)),
    command=CommandOptions(("serve", "--port", "${PORT}")),
)
LAUNCH = Launch(
    engine=EngineKind.LLAMA_CPP,
    argv=("/usr/bin/llama-server", "-m", "/models/ä.gguf"),
    env=(("CUDA_VISIBLE_DEVICES", "GPU-1,GPU-2"),),
    port=18001,
    cards=CARDS,
    files=(FileIdentity("/models/ä.gguf", 15 * 2**30, 1_700_000_000_123_456_789, 42),),
    build="b1234",
    fingerprint="f" * 64,
)
FOOTPRINT = Footprint(
    (2**34, 2**33), Source.LEARNED, 10, 20, (2**34, 2**33), "note", (Part("weights", (1, 1)),)
)


def service(name="chat", *, state=ServiceState.READY, generation=3, **fields):
    return ServiceRecord(
        id=name,
        state=state,
        generation=generation,
        reason="it answers",
        since=1000.5,
        spec=SPEC,
        launch=LAUNCH,
        footprint=FOOTPRINT,
        observed=((CARDS[0], 2**34), (CARDS[1], 2**33)),
        runner="process",
        admitting=True,
        ready_at=1001.25,
        restarts=(1.0, 2.0),
        last_log=("a line", "ünïcode 🚀 and \x00 and \t"),
        **fields,
    )


def step(index=0, phase=Phase.DO, **fields):
    return StepRecord(phase, index, StepKind.START, "start chat", CHAT, 3, CARDS[:1], **fields)


def switch(name="s1", *, state=SwitchState.RUNNING, steps=(), **fields):
    code = ModeId("code")
    request = SwitchRequest(mode=code, force=True, on_failure=OnFailure.BLANK, deadline=60.0, by="agent")
    return SwitchRecord(name, request, BLANK, code, state, 1000.0, steps=tuple(steps), **fields)


def desired(mode="code", **fields):
    return Desired(mode, (SPEC,), (EMBED,), 1002.0, **fields)


def lease(name="l1", until=5000.0):
    return Lease(name, "agent", (CHAT, EMBED), until, 1000.0, "a run")


def measurement(fingerprint="f1", stage="ready", used=(1, 2), at=1.0):
    return Measurement(fingerprint, CHAT, "RTX 4090", len(used), stage, tuple(used), 7, at)


@cache
def _template():
    """An empty store as it is on disk: making one takes a process, copying one does not."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "gpumod.db"
        prepare(path)
        return path.read_bytes()


def new_file(path):
    """Put an empty store at `path`."""
    path.write_bytes(_template())
    return path


def opened(path, **options):
    """A store on a file; untyped, so that tests may name things by plain strings."""
    return open_store(path, FakeClock(), **options)


def sql(path, statement, *parameters):
    """Run one statement as another program would."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=60)) as connection:
        return connection.execute(statement, parameters).fetchall()


def copy(path, target):
    """Copy a closed store."""
    shutil.copyfile(path, target)
    return target
