"""What was promised to somebody holds: leases, sizes, cancellations, and answers about switches."""

import asyncio
import time
from dataclasses import replace

import pytest

from gpumod.core.errors import StoreError
from gpumod.core.names import ModeId, ServiceId
from gpumod.core.plan import Refused
from gpumod.core.ports import Readiness
from gpumod.core.switch import SwitchRecord, SwitchRequest, SwitchState
from gpumod.core.units import GIB
from gpumod.testing.box import mode, service
from gpumod.testing.runner import Script

CHAT = mode("chat", service("gemma", 20 * GIB))
CODE = mode("code", service("qwen", 20 * GIB))
GEMMA, QWEN = ServiceId("gemma"), ServiceId("qwen")


def to(name):
    return SwitchRequest(mode=ModeId(name))


async def until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)


async def test_a_switch_that_is_planned_while_a_lease_is_written_sees_it(make_box):
    box = await make_box(CHAT, CODE, cards=1)
    await box.switch("chat")
    save, decided = box.store.save_lease, []

    async def slow(lease):
        decided.append(await box.supervisor.begin(to("code")))
        await save(lease)

    box.store.save_lease = slow
    lease = await box.supervisor.leases.take("ann", 600, services=[GEMMA])
    assert isinstance(decided[0], Refused)
    assert box.running() == {"gemma"}
    assert box.supervisor.leases.held() == (lease,)


async def test_a_lease_that_could_not_be_written_is_none(make_box):
    box = await make_box(CHAT, cards=1)
    await box.switch("chat")
    kept = await box.supervisor.leases.take("ann", 600)
    box.store.fail(StoreError("the disk is full"), "save_lease")
    with pytest.raises(StoreError):
        await box.supervisor.leases.take("bob", 600)
    with pytest.raises(StoreError):
        await box.supervisor.leases.renew(kept.id, 900)
    assert box.supervisor.leases.held() == (kept,)


async def test_another_declared_size_counts_from_the_next_switch_on(make_box):
    small, other = service("gemma", 10 * GIB), service("other", 10 * GIB)
    box = await make_box(mode("chat", small), mode("more", small, other), cards=1)
    await box.switch("chat")
    larger = service("gemma", 20 * GIB)
    modes = (box.catalog.modes[0], mode("chat", larger), mode("more", larger, other))
    box.catalog = replace(box.catalog, presets=(larger, other), modes=modes)
    await box.supervisor.reload()
    assert isinstance(await box.supervisor.begin(to("more")), Refused)
    assert (await box.switch("chat")).steps == ()
    (budget,) = (await box.supervisor.status()).budgets
    assert budget.charged == 20 * GIB
    assert box.running() == {"gemma"}


async def test_a_failed_start_leaves_no_attempt_behind(make_box):
    box = await make_box(CHAT, CODE, cards=1)
    await box.switch("chat")
    box.processes.script(QWEN, Script(exits=1))
    for _ in range(5):
        assert (await box.switch("code")).state is SwitchState.ROLLED_BACK
    assert {key.service for key in box.processes._attempts} == {GEMMA}


async def test_a_cancelled_switch_is_not_finished_by_the_next_daemon(make_box):
    box = await make_box(CHAT, CODE, cards=1)
    await box.switch("chat")
    box.engine.of(QWEN).then(Readiness.LOADING)
    begun = await box.supervisor.begin(to("code"))
    await until(lambda: "qwen" in box.running())
    cancelled = await box.supervisor.cancel(begun.id, "ann")
    assert cancelled.id == begun.id
    box.engine.of(QWEN).then(Readiness.READY)
    await box.restart()
    assert (await box.supervisor.status()).mode == "chat"
    assert box.running() == {"gemma"}


async def test_a_switch_that_had_nothing_to_do_can_be_asked_for(make_box, monkeypatch):
    monkeypatch.setattr("gpumod.supervisor.switcher._IDLE_KEPT", 2)
    box = await make_box(CHAT, cards=1)
    await box.switch("chat")
    first, *later = [await box.supervisor.begin(to("chat")) for _ in range(3)]
    for record in later:
        assert isinstance(record, SwitchRecord)
        assert await box.supervisor.switch(record.id) == record
    with pytest.raises(Exception, match=f"no switch {first.id}"):
        await box.supervisor.switch(first.id)
