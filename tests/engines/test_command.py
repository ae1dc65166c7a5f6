"""Any server that a command starts."""

import os
import pwd
import socket
import sys

import pytest

from gpumod.core.names import HOST_CARD, CardId
from gpumod.core.ports import EngineBuild, Readiness
from gpumod.core.service import FileIdentity
from gpumod.core.spec import CommandOptions, EngineKind, Task
from gpumod.core.states import ServiceState
from gpumod.engines.command import CommandEngine
from gpumod.engines.programs import Builds, locate, output, run_command
from gpumod.testing.engine_server import Script, command_of
from gpumod.testing.ports import free_port
from tests.engines.processes import Listeners, launch_of, ready, spec_of, start, until

__all__ = ["start"]

BUILD = EngineBuild("/usr/bin/server", "1-1")


def command_spec(options=None, **keys):
    options = options or CommandOptions(("server", "--port", "${PORT}"), stop_cmd=("stop", "${PORT}"))
    return spec_of(EngineKind.COMMAND, command=options, **keys)


@pytest.fixture
def engine():
    return CommandEngine(Listeners())


def compose(engine, spec, cards=(HOST_CARD,)):
    return engine.compose(spec, BUILD, cards=cards, card_indexes={}, port=18007, files=(), generation=1)


def test_the_port_is_filled_in(engine):
    launch = compose(engine, command_spec(args=("--x=${PORT}",)), cards=(CardId("GPU-a"),))
    assert launch.argv == ("/usr/bin/server", "--port", "18007", "--x=18007")
    assert dict(launch.env)["CUDA_VISIBLE_DEVICES"] == "GPU-a"


def test_a_command_that_is_not_told_its_port_is_refused(engine):
    deaf = CommandOptions(("server",))
    assert "${PORT}" in engine.check(command_spec(deaf), None).contradictions[0]
    assert engine.check(command_spec(deaf, port=9000), None).contradictions == ()


def test_its_stop_command_comes_first_in_every_state(engine):
    spec = command_spec()
    launch = compose(engine, spec)
    drained = engine.ladder(spec, launch, state=ServiceState.DRAINING, drained=True)
    assert [rung.act for rung in drained] == ["command", "signal", "kill"]
    assert drained[0].argv == ("stop", "18007")
    loading = engine.ladder(spec, launch, state=ServiceState.LOADING, drained=False)
    assert [rung.act for rung in loading] == ["command", "kill"]


async def test_a_program_that_is_not_there_is_told(engine, tmp_path):
    assert "not in PATH" in await engine.build(command_spec(CommandOptions(("no-such-program-here",))))
    assert "No such file" in await engine.build(command_spec(CommandOptions((str(tmp_path / "x"),))))
    (tmp_path / "y").write_text("")
    assert "chmod +x" in await engine.build(command_spec(CommandOptions((str(tmp_path / "y"),))))
    assert "not a file" in await engine.build(command_spec(CommandOptions((f"{tmp_path}/.",))))


async def test_a_server_from_start_to_end(engine, start):
    script = Script(name="chat", load_time=0.1, running=1)
    options = CommandOptions(command_of(script, port="${PORT}"), ready="/health", in_flight="/load#running")
    spec = command_spec(options)
    launch = await launch_of(engine, spec)
    process = start(launch.argv, launch.env)
    await ready(engine, spec, launch, process)
    assert await engine.warm_up(spec, launch) == ""
    assert await engine.in_flight(spec, launch) == 1
    assert await engine.owns_listener(spec, launch, [process.pid]) is True


@pytest.mark.parametrize(
    ("in_flight", "count"),
    [
        ("/load#running", 3),
        ("/metrics#llamacpp:requests_processing", 3),
        ("/load#nothing", None),
        ("/none", None),
    ],
)
async def test_where_the_count_is_read(engine, start, in_flight, count):
    options = CommandOptions(command_of(Script(running=3), port="${PORT}"), in_flight=in_flight)
    spec = command_spec(options, served_name="model")
    launch = await launch_of(engine, spec)
    await ready(engine, spec, launch, start(launch.argv))
    assert engine.counts_requests(spec)
    assert await engine.in_flight(spec, launch) == count


async def test_without_in_flight_it_cannot_be_asked(engine):
    spec = command_spec()
    assert not engine.counts_requests(spec)
    assert await engine.in_flight(spec, compose(engine, spec)) is None


async def test_a_server_that_is_no_language_model_only_has_to_be_up(engine, start):
    options = CommandOptions(command_of(Script(name="images"), port="${PORT}"), ready="/health")
    spec = command_spec(options, task=Task.NONE)
    launch = await launch_of(engine, spec)
    await ready(engine, spec, launch, start(launch.argv))
    assert await engine.warm_up(spec, launch) == ""


async def test_a_path_that_does_not_exist_is_an_error_not_readiness(engine, start):
    options = CommandOptions(command_of(Script(), port="${PORT}"), ready="/nowhere")
    spec = command_spec(options)
    port = free_port()
    process = start(command_of(Script(port=port)))
    launch = await launch_of(engine, spec, port=port)
    until(lambda: _answers(port), "the server")
    answer = await engine.probe(spec, launch)
    assert (answer.readiness, process.alive()) == (Readiness.ERROR, True)
    assert "/nowhere" in answer.detail


async def test_a_program_that_hangs_is_ended_with_its_children():
    with pytest.raises(TimeoutError):
        await output(("sh", "-c", "sleep 60 & sleep 60"), seconds=0.2)


async def test_what_is_asked_of_a_users_engines_runs_as_that_user():
    user = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    assert await output(("id", "-un"), user=user) == (0, f"{user}\n")


async def test_a_stop_command_says_why_it_failed():
    assert await run_command(("true",), 10) == ""
    assert "code 3: no" in await run_command(("sh", "-c", "echo no; exit 3"), 10)
    assert "within" in await run_command(("sleep", "60"), 0.1)
    assert "cannot be run" in await run_command(("/no/such/program",), 1)


async def test_a_program_is_asked_again_only_when_its_file_changed(tmp_path):
    asked = []

    async def ask(identity):
        asked.append(identity)
        return EngineBuild(identity.path, str(len(asked)))

    program = tmp_path / "program"
    program.write_text("1")
    program.chmod(0o755)
    builds = Builds(ask)
    assert await builds.of(str(program)) == await builds.of(str(program))
    program.write_text("22")
    assert await builds.of(str(program)) == EngineBuild(str(program), "2")
    assert len(asked) == 2


def test_programs_are_found_by_name():
    found = locate(sys.executable)
    assert isinstance(found, FileIdentity)
    assert found.path == sys.executable


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
