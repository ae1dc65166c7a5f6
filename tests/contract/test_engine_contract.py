"""What every adapter of the port `Engine` promises, the fake one included."""

from dataclasses import replace

import pytest

from gpumod.core.bounds import Bounds
from gpumod.core.names import CardId, ServiceId
from gpumod.core.ports import Readiness
from gpumod.core.service import ExitReport, FileIdentity, RunKey
from gpumod.core.states import ServiceState
from gpumod.testing.engine_server import Script
from tests.contract.engine_rigs import BUILD, KINDS, make
from tests.engines.processes import start

__all__ = ["start"]

GPU = CardId("GPU-aaaa")


@pytest.fixture(params=KINDS)
def rig(request, start):
    return make(request.param, start)


def test_a_launch_is_complete_and_the_same_each_time(rig):
    launch = rig.compose(port=18000)
    assert launch == rig.compose(port=18000)
    assert launch.argv
    assert launch.engine is rig.engine.kind
    assert launch.port == 18000
    assert launch.cards
    assert not any("${" in word for word in launch.argv)
    assert list(launch.env) == sorted(launch.env)


def test_a_changed_model_file_is_another_launch_and_another_fingerprint(rig):
    one = rig.compose(port=18000, files=(FileIdentity("/m", 1, 1),))
    other = rig.compose(port=18000, files=(FileIdentity("/m", 1, 2),))
    assert one != other
    assert one.fingerprint != other.fingerprint


def test_the_fingerprint_knows_the_number_of_cards_but_not_the_port(rig):
    one = rig.compose(port=18000, cards=(GPU,), card_indexes={GPU: 0})
    assert one.fingerprint == rig.compose(port=18001, cards=(GPU,), card_indexes={GPU: 0}).fingerprint
    two = rig.compose(port=18000, cards=(GPU, CardId("GPU-b")), card_indexes={GPU: 0, CardId("GPU-b"): 1})
    assert one.fingerprint != two.fingerprint


def test_arguments_change_the_fingerprint(rig):
    changed = replace(rig.spec, args=("--more", "memory"))
    assert rig.compose(port=18000).fingerprint != rig.compose(changed, port=18000).fingerprint


def test_a_good_spec_has_nothing_against_it(rig):
    check = rig.engine.check(rig.spec, BUILD)
    assert check.contradictions == ()
    assert check.not_built == ()
    assert rig.engine.check(rig.spec, None).contradictions == ()


def test_the_model_file_is_needed(rig):
    assert "/models/m.gguf" in " ".join(rig.engine.files(rig.spec))


@pytest.mark.parametrize("drained", [True, False])
@pytest.mark.parametrize("state", list(ServiceState))
def test_every_ladder_ends_in_a_kill_and_every_wait_is_bounded(rig, state, drained):
    rungs = rig.engine.ladder(rig.spec, rig.compose(), state=state, drained=drained)
    assert rungs[-1].act == "kill"
    assert all(0 < rung.wait < 3600 for rung in rungs)
    assert all(rung.argv for rung in rungs if rung.act == "command")


def test_explaining_never_raises(rig):
    report = ExitReport(RunKey(ServiceId("chat"), 1), 1, None, 0.0)
    for lines in ([], ["nonsense"], ["E {0} failed \x00"]):
        assert isinstance(rig.engine.explain(lines, report, rig.compose()), str)
        assert isinstance(rig.engine.explain(lines, None), str)


async def test_where_nothing_listens(rig):
    launch = rig.compose()
    rig.serve(launch, None)
    assert (await rig.engine.probe(rig.spec, launch)).readiness is Readiness.CLOSED
    assert await rig.engine.in_flight(rig.spec, launch) is None
    assert await rig.engine.warm_up(rig.spec, launch)


async def test_ready_serves_our_model_and_answers(rig):
    launch = rig.compose()
    rig.serve(launch, Script(name="chat"))
    await rig.until(launch, Readiness.READY)
    assert await rig.engine.warm_up(rig.spec, launch) == ""
    assert await rig.engine.in_flight(rig.spec, launch) == 0


async def test_a_foreign_model_on_the_port_is_not_ready(rig):
    launch = rig.compose()
    rig.serve(launch, Script(name="somebody-elses"))
    await rig.until(launch, Readiness.WRONG_MODEL)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_that_hangs_is_an_error_within_the_bound(kind, start):
    rig = make(kind, start, Bounds(probe=0.5))
    launch = rig.compose()
    rig.serve(launch, Script(name="chat", hung=True))
    await rig.until(launch, Readiness.ERROR)


async def test_a_failing_warm_up_says_why(rig):
    launch = rig.compose()
    rig.serve(launch, Script(name="chat", fail_requests=500))
    await rig.until(launch, Readiness.READY)
    assert "500" in await rig.engine.warm_up(rig.spec, launch)


async def test_requests_in_flight_are_counted(rig):
    launch = rig.compose()
    rig.serve(launch, Script(name="chat", running=2))
    await rig.until(launch, Readiness.READY)
    assert rig.engine.counts_requests(rig.spec)
    assert await rig.engine.in_flight(rig.spec, launch) == 2


async def test_cleaning_may_be_repeated(rig, tmp_path):
    launch = replace(rig.compose(), argv=("true",))
    await rig.engine.clean(rig.spec, launch)
    await rig.engine.clean(rig.spec, launch)
    assert await rig.engine.outside(rig.spec, launch) == ()
