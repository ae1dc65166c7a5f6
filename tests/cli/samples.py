"""A box with something of everything, for tests of what is shown."""

from gpumod.client.calls import encode
from gpumod.core.cards import Card, CardHealth, CardProcess, CardsReading, DriverState, HostMemory
from gpumod.core.footprint import Footprint, Source
from gpumod.core.lease import Lease
from gpumod.core.names import CardId, LeaseId, ModeId, PresetId, ServiceId, SwitchId
from gpumod.core.plan import CardBudget, StepKind
from gpumod.core.service import Launch, ServiceRecord
from gpumod.core.spec import EngineKind, ServiceSpec
from gpumod.core.states import ServiceState
from gpumod.core.switch import (
    BoxState,
    BoxStatus,
    Phase,
    StepRecord,
    StepState,
    SwitchRecord,
    SwitchRequest,
    SwitchState,
)
from gpumod.core.units import GIB, MIB

NOW = 1_790_000_000.0
CARD_0 = CardId("GPU-11111111-2222-3333-4444-555555555555")
CARD_1 = CardId("GPU-66666666-7777-8888-9999-000000000000")


def service(name, state=ServiceState.READY, cards=(CARD_0,), port=18000, size=15 * GIB, reason="", held=None):
    id_ = ServiceId(name)
    launch = Launch(EngineKind.LLAMA_CPP, ("llama-server",), (), port, tuple(cards))
    return ServiceRecord(
        id=id_,
        state=state,
        generation=3,
        reason=reason,
        since=NOW - 7500,
        spec=ServiceSpec(id=id_, preset=PresetId(name), engine=EngineKind.LLAMA_CPP),
        launch=launch,
        footprint=Footprint((size,) * len(cards), Source.ESTIMATED),
        observed=tuple((card, held or size - 300 * MIB) for card in cards),
    )


def busy_box() -> BoxStatus:
    xorg = CardProcess(1234, 220 * MIB, "/usr/lib/xorg/Xorg -core :0", "root", graphics=True)
    training = CardProcess(9876, None, "python train.py", "bob")
    reading = CardsReading(
        at=NOW,
        driver=DriverState.OK,
        driver_version="570.86.15",
        cards=(
            Card(CARD_0, 0, "NVIDIA GeForce RTX 4090", 24564 * MIB, 8 * GIB, processes=(xorg,)),
            Card(
                CARD_1,
                1,
                "NVIDIA GeForce RTX 4090",
                24564 * MIB,
                2 * GIB,
                health=CardHealth.UNKNOWN,
                reason="the driver has not answered for 4.0 s",
                age=4.0,
                processes=(training,),
            ),
        ),
        host=HostMemory(64 * GIB, 48 * GIB, limited_by="memory.host in config.yaml"),
    )
    request = SwitchRequest(mode=ModeId("code"))
    steps = (
        StepRecord(
            Phase.DO, 0, StepKind.STOP, "stop chat", state=StepState.DONE, started=NOW - 5, ended=NOW - 4.6
        ),
        StepRecord(
            Phase.DO, 1, StepKind.RELEASE, f"prove that memory is free on {CARD_0}", state=StepState.RUNNING,
            started=NOW - 4.6, detail="8.0 GiB free of 15.0 GiB needed",
        ),
        StepRecord(Phase.DO, 2, StepKind.START, "start qwen36-35b-a3b-mtp-iq4xs-preserve"),
    )  # fmt: skip
    switch = SwitchRecord(
        SwitchId("s-42"), request, ModeId("chat"), ModeId("code"), SwitchState.RUNNING, NOW - 5, steps=steps
    )
    return BoxStatus(
        state=BoxState.SWITCHING,
        reason="switch to code, step 2 of 3",
        mode=ModeId("chat"),
        at=NOW,
        version="0.1.0",
        reading=reading,
        services=(
            service("gemma4-26b-a4b-qat-q4"),
            service("qwen36-35b-a3b-mtp-iq4xs-preserve", ServiceState.LOADING, (CARD_1,), 18001, 19 * GIB,
                    "its process tree exists"),
            service("embed-2", ServiceState.FAILED, (CARD_1,), 18002, 2 * GIB,
                    "out of memory on GPU-66666666: needed 2048 MiB, 900 MiB were free"),
            service("big-vllm", ServiceState.DRAINING, (CARD_0, CARD_1), 18003, 3 * GIB, "2 requests run"),
        ),
        budgets=(
            CardBudget(CARD_0, 24564 * MIB, 512 * MIB, 220 * MIB, 15 * GIB, 8 * GIB),
            CardBudget(CARD_1, 24564 * MIB, 512 * MIB, 5 * GIB, 19 * GIB, -600 * MIB),
        ),
        leases=(
            Lease(LeaseId("l-7"), "ci-bot", (ServiceId("embed-2"),), NOW + 400, NOW, "nightly evaluation"),
        ),
        switch=switch,
        overcommitted=(CARD_1,),
        notes=("adopted gemma4-26b-a4b-qat-q4, pid 4242", "preset old-model is disabled: no such file"),
    )  # fmt: skip


def busy_box_json():
    return encode(busy_box())
