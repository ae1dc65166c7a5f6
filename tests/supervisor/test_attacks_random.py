"""Whatever happens in whatever order: no card is ever over its budget, and no service is left in between."""

import asyncio
import random

import pytest

from gpumod.core.bounds import Bounds
from gpumod.core.errors import GpumodError, StoreError
from gpumod.core.names import ModeId, ServiceId
from gpumod.core.ports import Readiness
from gpumod.core.spec import OnFailure
from gpumod.core.states import ServiceState
from gpumod.core.switch import SwitchRequest, SwitchState
from gpumod.core.units import GIB
from gpumod.testing.box import mode, service
from gpumod.testing.runner import Script

SHARED = service("embed", 4 * GIB)
MODES = (
    mode("chat", service("gemma", 18 * GIB), SHARED),
    mode("code", service("qwen", 20 * GIB), service("draft", 3 * GIB)),
    mode("big", service("giant", 20 * GIB, cards=2), SHARED),
    mode("many", *(service(f"s{number}", 6 * GIB, depends_on=()) for number in range(6))),
)
NAMES = sorted({spec.id for one in MODES for spec in one.services})
IN_BETWEEN = {ServiceState.STARTING, ServiceState.LOADING, ServiceState.DRAINING, ServiceState.STOPPING}


class Storm:
    """Does one thing after another to a box."""

    def __init__(self, box, dice):
        self.box = box
        self.dice = dice
        self.asked = []
        self.said = []

    async def run(self, count):
        acts = (
            self.begin,
            self.begin,
            self.cancel,
            self.blank,
            self.die,
            self.fill_disk,
            self.misbehave,
            self.hand,
        )
        for _ in range(count):
            act = self.dice.choice(acts)
            self.said.append(act.__name__)
            await act()
            for _ in range(self.dice.choice((0, 1, 5, 40, 300))):
                await asyncio.sleep(0)
            if self.dice.random() < 0.06:
                self.said.append("restart")
                await self.settle_callers()
                await self.box.restart()

    def ask(self, request):
        self.asked.append(asyncio.create_task(self.box.supervisor.begin(request)))

    async def begin(self):
        wish = self.dice.choice((None, *OnFailure))
        self.ask(SwitchRequest(mode=self.dice.choice(MODES).id, on_failure=wish))

    async def blank(self):
        self.ask(SwitchRequest(mode=ModeId("blank"), force=True))
        if self.dice.random() < 0.3:
            self.asked[-1].cancel()

    async def hand(self):
        name = ServiceId(self.dice.choice(NAMES))
        wishes = (SwitchRequest(start=name), SwitchRequest(stop=name), SwitchRequest(restart=name))
        self.ask(self.dice.choice(wishes))

    async def cancel(self):
        current = (await self.box.supervisor.status()).switch
        if current is not None:
            await self.box.supervisor.cancel(current.id)

    async def die(self):
        alive = [run.key for run in self.box.processes.runs() if run.exit is None]
        if alive:
            self.box.processes.end(self.dice.choice(alive), code=self.dice.choice((0, 1)))

    async def fill_disk(self):
        method = self.dice.choice(
            ("write_step", "commit_switch", "save_service", "begin_switch", "update_switch")
        )
        self.box.store.fail(StoreError("the disk is full"), method)
        for _ in range(self.dice.choice((1, 10, 60))):
            await asyncio.sleep(0)
        self.box.store.heal()

    async def misbehave(self):
        name = ServiceId(self.dice.choice(NAMES))
        self.box.processes.script(name, Script(exits=self.dice.choice((None, None, 1))))
        self.box.engine.of(name).then(*[Readiness.LOADING] * self.dice.randrange(30), Readiness.READY)

    async def settle_callers(self):
        for answer in await asyncio.gather(*self.asked, return_exceptions=True):
            fine = isinstance(answer, (GpumodError, asyncio.CancelledError)) or not isinstance(
                answer, BaseException
            )
            assert fine, repr(answer)
        self.asked.clear()


def never_over_budget(box):
    """A start that takes a card beyond what it has fails the test."""
    take = box.processes.on_start
    over = []

    def taking(key, request, pid):
        take(key, request, pid)
        for state in box.hardware._cards.values():
            held = sum(one.size for one in state.holds)
            if held > state.card.total:
                over.append((key, state.card.id, held))

    box.processes.on_start = taking
    return over


@pytest.mark.parametrize("seed", range(30))
async def test_any_order_of_events_leaves_a_box_within_its_budget_and_in_a_known_state(make_box, seed):
    box = await make_box(*MODES, cards=2, bounds=Bounds(barrier=1.0))
    over = never_over_budget(box)
    storm = Storm(box, random.Random(seed))
    await storm.run(40)
    box.store.heal()
    for name in NAMES:
        box.processes.script(ServiceId(name), Script())
        box.engine.of(ServiceId(name)).then(Readiness.READY)
    await storm.settle_callers()
    current = (await box.supervisor.status()).switch
    if current is not None:
        await box.supervisor.wait(current.id)
    assert not over, over
    if not box.supervisor._switcher.busy:
        for record in box.supervisor._world.all():
            assert record.state not in IN_BETWEEN, (record.id, record.state, record.reason, storm.said)
            assert record.admitting == (record.state is ServiceState.READY), (record.id, storm.said)
    ended = await box.blank()
    if "deadline" in ended.reason:  # virtual time may leap while a switch works without sleeping
        ended = await box.blank()
    assert ended.state is SwitchState.COMMITTED, ended
    assert box.running() == set(), (ended, storm.said)
    assert (await box.supervisor.status()).reason == "mode blank: nothing of ours runs"
