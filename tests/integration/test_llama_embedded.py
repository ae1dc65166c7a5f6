"""llama.cpp itself, out of the wheel: every fact of its behaviour that can hurt a switch."""

import asyncio
import http.client
import json
import socket
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from gpumod.core.ports import EngineBuild, Readiness
from gpumod.core.spec import Draft, EngineKind, KvCache, LlamaOptions, Task
from gpumod.core.states import ServiceState
from gpumod.engines import engines
from gpumod.engines.llama_cpp import EMBEDDED_SERVER
from gpumod.testing.gguf import MEDIUM, TINY, Shape, of_size, write_gguf
from gpumod.testing.ports import free_port
from tests.engines.processes import KILL, TERM, Listeners, launch_of, ready, spec_of, start, until

__all__ = ["start"]

pytest.importorskip("xllamacpp", reason="the embedded extra is not installed")

SLOW = Shape(layers=2, embedding=1024, feed_forward=4096, heads=16, dtype="f32", context=32768)
"""134 MB: a second of loading to look at, and slow enough to keep a request in flight."""


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    folder: Path = tmp_path_factory.mktemp("models")
    write_gguf(folder / "tiny.gguf", TINY)
    write_gguf(folder / "slow.gguf", SLOW)
    return folder


@pytest.fixture
def engine():
    return engines(Listeners(), llama_server="embedded")[EngineKind.LLAMA_CPP]


async def serving(engine, start, spec, **keys):
    """A ready server: its launch and its process."""
    launch = await launch_of(engine, spec, **keys)
    process = start(launch.argv, launch.env)
    await ready(engine, spec, launch, process)
    return launch, process


def ask(port: int, tokens: int, *, stream: bool = False) -> http.client.HTTPConnection:
    """Send a chat request and do not wait for its answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": tokens, "stream": stream}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
    return connection


async def busy(engine, spec, launch, count: int) -> None:
    """Wait until so many requests are in flight."""
    async with asyncio.timeout(60):
        while True:
            if await engine.in_flight(spec, launch) == count:
                return
            await asyncio.sleep(0.02)


async def test_it_is_ready_under_its_name_and_answers(engine, start, models):
    spec = spec_of(model=str(models / "tiny.gguf"), slots=2, served_name="hermes")
    launch, process = await serving(engine, start, spec)
    assert await engine.warm_up(spec, launch) == ""
    assert await engine.in_flight(spec, launch) == 0
    assert await engine.owns_listener(spec, launch, [process.pid]) is True
    assert await engine.owns_listener(spec, launch, []) is False
    client = ask(launch.port, 24)
    answer = json.loads(client.getresponse().read())
    client.close()
    text = answer["choices"][0]["message"]["content"]
    assert answer["usage"]["completion_tokens"] == 24, "it never ends by itself"
    assert text.isprintable()
    assert text.isascii()
    process.signal(TERM)
    assert process.ended() == 0


async def test_every_slot_has_the_context_that_the_preset_says(engine, start, models):
    spec = spec_of(model=str(models / "tiny.gguf"), slots=3, context=1024)
    launch, process = await serving(engine, start, spec)
    connection = http.client.HTTPConnection("127.0.0.1", launch.port, timeout=60)
    connection.request("GET", "/slots")
    slots = json.loads(connection.getresponse().read())
    connection.close()
    assert [slot["n_ctx"] for slot in slots] == [1024, 1024, 1024]
    assert process.alive()


async def test_another_model_name_is_not_ours(engine, start, models):
    spec = spec_of(model=str(models / "tiny.gguf"))
    launch, _ = await serving(engine, start, spec)
    answer = await engine.probe(replace(spec, served_name="other"), launch)
    assert answer.readiness is Readiness.WRONG_MODEL
    assert "chat" in answer.detail


async def ended_while_it_loads(engine, start, spec, tries=20):
    """The first answer of a server that gets a SIGTERM for it, and its exit code.

    It loads for some milliseconds only: on a busy machine it takes several tries to meet them.
    """
    launch = await launch_of(engine, spec)
    process = start(launch.argv, launch.env)
    async with asyncio.timeout(60):
        while (answer := await engine.probe(spec, launch)).readiness is Readiness.CLOSED:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    process.signal(TERM)
    code = process.ended()
    if tries > 1 and (answer.readiness, code) != (Readiness.LOADING, -TERM):
        return await ended_while_it_loads(engine, start, spec, tries - 1)
    return answer, code


async def test_while_it_loads_it_says_so_and_sigterm_kills_at_once(engine, start, models):
    spec = spec_of(model=str(models / "slow.gguf"), llama=LlamaOptions(threads=1))
    answer, code = await ended_while_it_loads(engine, start, spec)
    assert (answer.readiness, answer.detail) == (Readiness.LOADING, "503: Loading model")
    assert code == -TERM, "nobody has installed a handler yet"


async def test_on_the_host_card_the_weights_are_anonymous_memory(engine, start, models):
    path = models / "slow.gguf"
    spec = spec_of(model=str(path))
    _, process = await serving(engine, start, spec)
    assert _anonymous(process.pid) > 0.9 * path.stat().st_size


async def test_sigterm_with_a_request_in_flight_neither_drains_nor_cuts(engine, start, models):
    """So the ladder of an engine that was not drained is SIGKILL."""
    spec = spec_of(model=str(models / "slow.gguf"), context=16384)
    launch, process = await serving(engine, start, spec)
    client = ask(launch.port, 15000)
    await busy(engine, spec, launch, 1)
    process.signal(TERM)
    until(lambda: not _listens(launch.port), "the port closing")
    await asyncio.sleep(1.5)
    assert process.alive(), "it waits for its client"
    assert [rung.act for rung in engine.ladder(spec, launch, state=ServiceState.DRAINING, drained=False)] == [
        "kill"
    ]
    process.signal(KILL)
    assert process.ended() == -KILL
    client.close()


async def test_when_its_client_goes_the_waiting_server_ends(engine, start, models):
    spec = spec_of(model=str(models / "slow.gguf"), context=16384)
    launch, process = await serving(engine, start, spec)
    client = ask(launch.port, 15000)
    await busy(engine, spec, launch, 1)
    process.signal(TERM)
    until(lambda: not _listens(launch.port), "the port closing")
    client.close()
    assert process.ended() == 0


async def test_requests_that_wait_for_a_slot_are_counted_until_their_clients_go(engine, start, models):
    """Asked without a pause, the server would not notice that the clients have gone."""
    spec = spec_of(model=str(models / "slow.gguf"), context=16384)
    launch, _ = await serving(engine, start, spec)
    clients = [ask(launch.port, 15000) for _ in range(3)]
    await busy(engine, spec, launch, 3)
    for client in clients:
        client.close()
    await busy(engine, spec, launch, 0)


async def test_a_stream_whose_client_has_gone_is_not_in_flight(engine, start, models):
    spec = spec_of(model=str(models / "slow.gguf"), context=16384)
    launch, _ = await serving(engine, start, spec)
    client = ask(launch.port, 15000, stream=True)
    await busy(engine, spec, launch, 1)
    client.close()
    await busy(engine, spec, launch, 0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda p: {"model": str(p / "missing.gguf")}, "missing.gguf: No such file"),
        (lambda p: {"model": str(_written(p / "bad.gguf", b"garbage" * 100))}, "not a GGUF file"),
        (lambda p: {"model": str(_truncated(p))}, "truncated"),
        (lambda p: {"args": ("--bogus",)}, "--bogus"),
        (lambda p: {"args": ("--keep", "many")}, "--keep"),
        (lambda p: {"mmproj": str(_written(p / "mm.gguf", b"garbage" * 100))}, "projector"),
        (lambda p: {"draft": Draft("mtp", n_max=2)}, "no MTP layers"),
        (lambda p: {"draft": Draft("model", model=str(p / "none.gguf"))}, "draft model"),
        (
            lambda p: {"model": str(p / "slow.gguf"), "context": 20_000_000},
            "out of memory on the host: needed",
        ),
    ],
)
async def test_every_failure_exits_with_1_and_the_log_says_why(engine, start, models, tmp_path, change, says):
    for name in ("tiny.gguf", "slow.gguf"):
        (tmp_path / name).symlink_to(models / name)
    keys = {"model": str(models / "tiny.gguf")} | change(tmp_path)
    launch = await launch_of(engine, spec_of(**keys))
    process = start(launch.argv, launch.env)
    assert process.ended() == 1
    assert says in engine.explain(process.lines, None, launch)


async def test_a_device_that_the_build_does_not_have_is_no_silent_fall_to_the_cpu(engine, start, models):
    spec = spec_of(model=str(models / "tiny.gguf"))
    launch = await launch_of(engine, spec, cards=("GPU-aaaa",), card_indexes={"GPU-aaaa": 0})
    process = start(launch.argv, launch.env)
    assert process.ended() == 1
    assert "built without CUDA" in engine.explain(process.lines, None, launch)


async def test_a_taken_port_is_found_before_the_model_is_loaded(engine, start, models):
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        launch = await launch_of(engine, spec_of(model=str(models / "slow.gguf")), port=port)
        process = start(launch.argv, launch.env)
        assert process.ended() == 1
    assert engine.explain(process.lines, None, launch) == f"port {port} is taken"
    assert "loading model" not in "\n".join(process.lines)


async def test_the_port_can_be_had_again_at_once(engine, start, models):
    spec = spec_of(model=str(models / "tiny.gguf"))
    launch, process = await serving(engine, start, spec)
    # Told to stop in the moment of getting ready, it may wait for its own main loop for ever.
    assert await engine.warm_up(spec, launch) == ""
    process.signal(TERM)
    assert process.ended() == 0
    again = start(launch.argv, launch.env, log="again.log")
    await ready(engine, spec, launch, again)


@pytest.mark.parametrize(
    ("task", "args"), [(Task.EMBEDDING, ("--pooling", "mean")), (Task.COMPLETION, ()), (Task.RERANK, ())]
)
async def test_other_tasks_are_warmed_up_with_their_own_request(engine, start, models, task, args):
    spec = spec_of(model=str(models / "tiny.gguf"), task=task, args=args)
    launch, _ = await serving(engine, start, spec)
    assert await engine.warm_up(spec, launch) == ""


async def test_quantised_cache_and_flash_attention_and_a_draft_model_are_accepted(engine, start, models):
    spec = spec_of(
        model=str(models / "slow.gguf"),
        kv_cache=KvCache("q8_0", "q8_0"),
        llama=LlamaOptions(threads=1, flash_attention=True, batch=256, ubatch=128),
        draft=Draft("model", model=str(models / "slow.gguf"), n_max=2),
        sampler=(("temperature", 0.5), ("top_k", 20.0), ("repeat_penalty", 1.1)),
        args=("--jinja", "--chat-template-kwargs", '{"enable_thinking": false}'),
    )
    launch, process = await serving(engine, start, spec)
    assert await engine.warm_up(spec, launch) == ""
    assert "draft-simple" in "\n".join(process.lines)


async def test_without_metrics_slots_are_asked_instead(engine, start, models):
    spec = spec_of(model=str(models / "tiny.gguf"))
    launch = await launch_of(engine, spec)
    launch = replace(launch, argv=tuple(word for word in launch.argv if word != "--metrics"))
    process = start(launch.argv, launch.env)
    await ready(engine, spec, launch, process)
    assert await engine.in_flight(spec, launch) == 0


async def test_the_build_is_asked_once_and_knows_its_flags(engine):
    build = await engine.build(spec_of())
    assert isinstance(build, EngineBuild)
    assert "xllamacpp" in build.version
    assert {"--ctx-size", "-c", "--load-mode", "--fit", "--metrics"} <= build.flags
    assert {"flash-value", "verbosity-trace", "spec:draft-mtp"} <= build.traits
    assert await engine.build(spec_of()) is build


async def test_what_we_compose_is_what_the_help_lists(engine, models):
    build = await engine.build(spec_of())
    spec = spec_of(model="/m", slots=2, kv_cache=KvCache(), mmproj="/p", draft=Draft("m", "/d", 2))
    launch = await launch_of(engine, spec)
    assert {word for word in launch.argv[3:] if word.startswith("--")} <= build.flags


def test_a_missing_wheel_is_one_clear_sentence(start):
    code = (
        "import runpy, sys; sys.modules['xllamacpp'] = None; sys.argv = ['x', '--version'];"
        f"runpy.run_path({EMBEDDED_SERVER!r}, run_name='__main__')"
    )
    process = start((sys.executable, "-c", code))
    assert process.ended() == 1
    assert "gpumod[embedded]" in "\n".join(process.lines)


def test_models_are_made_of_the_size_that_was_asked_for(tmp_path):
    path = write_gguf(tmp_path / "m.gguf", of_size(30_000_000))
    assert 25_000_000 < path.stat().st_size < 35_000_000
    assert (
        write_gguf(tmp_path / "again.gguf", TINY).read_bytes()
        == write_gguf(tmp_path / "t", TINY).read_bytes()
    )
    assert MEDIUM.layer_bytes * 8 > 250_000_000


def _anonymous(pid: int) -> int:
    """Bytes of anonymous memory."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in rollup if line.startswith("Anonymous")) * 1024


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _truncated(folder: Path) -> Path:
    whole = (folder / "tiny.gguf").read_bytes()
    return _written(folder / "cut.gguf", whole[: len(whole) // 2])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
