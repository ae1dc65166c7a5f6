"""Steps run as parallel as the plan allows, each journaled before it acts."""

import asyncio

import pytest

from gpumod.core.errors import CancelledSwitchError, StartFailedError, StoreError
from gpumod.core.names import ServiceId, SwitchId
from gpumod.core.plan import Step, StepKind
from gpumod.core.switch import Phase, StepRecord, StepState
from gpumod.supervisor.executor import Executor, StepBook
from gpumod.testing.clock import FakeClock


class Journal:
    """Keeps what is written, and may be full."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, StepState]] = []
        self.full_after: int | None = None

    async def write_step(self, switch: SwitchId, step: StepRecord) -> None:
        if self.full_after is not None and len(self.lines) >= self.full_after:
            raise StoreError("the disk is full")
        self.lines.append((step.index, step.state))


class Silent:
    def publish(self, *args: object, **data: object) -> None:
        """Nobody listens."""

    def follow(self, after=None):
        raise AssertionError("nobody follows")


class World:
    """Steps that act when told to, in an order that the test controls."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.acted: list[int] = []
        self.held: dict[int, asyncio.Event] = {}
        self.failing: dict[int, Exception] = {}
        self.given_up: list[int] = []

    async def act(self, step: Step) -> str:
        assert (step.index, StepState.RUNNING) in self.journal.lines, "acted before it was journaled"
        try:
            if step.index in self.held:
                await self.held[step.index].wait()
        except asyncio.CancelledError:
            self.given_up.append(step.index)
            raise
        if step.index in self.failing:
            raise self.failing[step.index]
        self.acted.append(step.index)
        return f"did {step.index}"


@pytest.fixture
def journal() -> Journal:
    return Journal()


@pytest.fixture
def world(journal):
    return World(journal)


def steps(*rows):
    return tuple(Step(index, kind, after, ServiceId(f"s{index}")) for index, kind, after in rows)


def executor_of(world, journal, plan):
    book = StepBook(journal, Silent(), FakeClock(), SwitchId("w1"))
    book.plan(Phase.DO, plan)
    return Executor(world.act, book), book


async def run(world, journal, plan):
    executor, book = executor_of(world, journal, plan)
    return await asyncio.wait_for(executor.run(Phase.DO, plan), 60), book


async def turns(count=20):
    for _ in range(count):
        await asyncio.sleep(0)


async def test_every_step_is_journaled_before_and_after_its_act(world, journal):
    outcome, book = await run(world, journal, steps((0, StepKind.CLOSE, ()), (1, StepKind.STOP, (0,))))
    assert outcome.ok
    assert outcome.done == {0, 1}
    assert journal.lines == [
        (0, StepState.RUNNING),
        (0, StepState.DONE),
        (1, StepState.RUNNING),
        (1, StepState.DONE),
    ]
    assert [record.detail for record in book.records] == ["did 0", "did 1"]


async def test_steps_that_share_nothing_run_side_by_side(world, journal):
    plan = steps((0, StepKind.STOP, ()), (1, StepKind.STOP, ()), (2, StepKind.START, (1,)))
    world.held[0] = asyncio.Event()
    executor, _ = executor_of(world, journal, plan)
    running = asyncio.create_task(executor.run(Phase.DO, plan))
    await turns()
    assert world.acted == [1, 2], "the second chain waited for the first"
    world.held[0].set()
    assert (await running).ok


async def test_after_a_failure_no_further_step_begins(world, journal):
    plan = steps((0, StepKind.START, ()), (1, StepKind.READY, (0,)), (2, StepKind.OPEN, (1,)))
    world.failing[1] = StartFailedError("it exited with code 1")
    outcome, book = await run(world, journal, plan)
    assert outcome.error is not None
    assert outcome.error.detail == "it exited with code 1"
    assert outcome.failed is plan[1]
    assert [record.state for record in book.records] == [StepState.DONE, StepState.FAILED, StepState.SKIPPED]


async def test_a_failure_gives_up_what_only_waits_and_lets_acts_finish(world, journal):
    plan = steps((0, StepKind.READY, ()), (1, StepKind.STOP, ()), (2, StepKind.START, ()))
    world.held = {0: asyncio.Event(), 1: asyncio.Event()}
    world.failing[2] = StartFailedError("no")
    executor, _ = executor_of(world, journal, plan)
    running = asyncio.create_task(executor.run(Phase.DO, plan))
    await turns()
    assert world.given_up == [0], "a wait was not given up"
    assert not running.done(), "the stop under way was abandoned"
    world.held[1].set()
    outcome = await running
    assert outcome.done == {1}
    assert outcome.error is not None
    assert outcome.error.detail == "no"


async def test_an_interrupt_ends_a_wait_with_its_reason(world, journal):
    plan = steps((0, StepKind.DRAIN, ()), (1, StepKind.STOP, (0,)))
    world.held[0] = asyncio.Event()
    executor, book = executor_of(world, journal, plan)
    running = asyncio.create_task(executor.run(Phase.DO, plan))
    await turns()
    executor.interrupt(CancelledSwitchError("cancelled by a test"))
    outcome = await running
    assert outcome.error is not None
    assert outcome.error.detail == "cancelled by a test"
    assert world.acted == []
    assert [record.state for record in book.records] == [StepState.FAILED, StepState.SKIPPED]


async def test_a_step_that_cannot_be_journaled_does_not_act(world, journal):
    journal.full_after = 2
    outcome, _ = await run(world, journal, steps((0, StepKind.CLOSE, ()), (1, StepKind.STOP, (0,))))
    assert world.acted == [0]
    assert isinstance(outcome.error, StoreError)


async def test_a_defect_in_a_step_is_a_failure_of_the_switch(world, journal, caplog):
    world.failing[0] = ZeroDivisionError("oops")
    outcome, _ = await run(world, journal, steps((0, StepKind.START, ())))
    assert outcome.error is not None
    assert "defect" in outcome.error.detail


async def test_steps_that_wait_for_each_other_are_refused_not_waited_for(world, journal):
    outcome, _ = await run(world, journal, steps((0, StepKind.STOP, (1,)), (1, StepKind.STOP, (0,))))
    assert outcome.error is not None
    assert "wait for each other" in outcome.error.detail
