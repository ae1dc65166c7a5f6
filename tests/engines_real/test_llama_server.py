"""The real llama-server, built from source: what a supervisor lives with."""

import asyncio
import socket
from dataclasses import replace

import pytest

from gpumod.core.ports import EngineBuild, Readiness
from gpumod.core.spec import Draft, EngineKind, KvCache, LlamaOptions
from gpumod.core.states import ServiceState
from gpumod.engines import engines
from gpumod.testing.ports import free_port
from tests.engines.processes import KILL, TERM, Listeners, launch_of, ready, spec_of, until
from tests.integration.test_llama_embedded import ask, busy, ended_while_it_loads, serving

pytestmark = pytest.mark.engines


@pytest.fixture
def engine(llama_server):
    return engines(Listeners(), llama_server=str(llama_server))[EngineKind.LLAMA_CPP]


async def test_its_build_is_asked_before_flags_are_composed(engine):
    build = await engine.build(spec_of())
    assert isinstance(build, EngineBuild)
    assert "11434" in build.version
    assert {"--ctx-size", "-c", "--load-mode", "--fit", "--metrics", "--device"} <= build.flags
    assert not {"--no-mmap", "--mlock"} & build.flags, "gone from recent builds"
    assert {"flash-value", "verbosity-trace", "spec:draft-mtp", "spec:draft-simple"} <= build.traits


async def test_everything_that_we_compose_it_accepts(engine, start, gguf_models):
    spec = spec_of(
        model=str(gguf_models / "slow.gguf"),
        slots=2,
        served_name="hermes",
        kv_cache=KvCache("q8_0", "q8_0"),
        llama=LlamaOptions(threads=1, flash_attention=True, batch=256, ubatch=128),
        draft=Draft("model", model=str(gguf_models / "slow.gguf"), n_max=2),
        sampler=(("temperature", 0.5), ("top_k", 20.0), ("min_p", 0.01), ("repeat_penalty", 1.1)),
        args=("--jinja", "--chat-template-kwargs", '{"enable_thinking": false}'),
    )
    launch, process = await serving(engine, start, spec)
    assert await engine.warm_up(spec, launch) == ""
    assert await engine.in_flight(spec, launch) == 0
    assert "n_ctx_slot = 512" in "\n".join(process.lines)
    process.signal(TERM)
    assert process.ended() == 0


async def test_buffer_sizes_are_in_the_log(engine, start, gguf_models):
    spec = spec_of(model=str(gguf_models / "tiny.gguf"))
    _, process = await serving(engine, start, spec)
    log = "\n".join(process.lines)
    assert "model buffer size" in log
    assert "KV buffer size" in log


async def test_sigterm_while_loading_kills_at_once(engine, start, gguf_models):
    spec = spec_of(model=str(gguf_models / "slow.gguf"))
    answer, code = await ended_while_it_loads(engine, start, spec)
    assert answer.readiness is Readiness.LOADING
    assert code == -TERM


async def test_sigterm_with_a_request_in_flight_hangs_and_a_second_signal_exits_with_1(
    engine, start, gguf_models
):
    spec = spec_of(model=str(gguf_models / "slow.gguf"), context=16384)
    launch, process = await serving(engine, start, spec)
    client = ask(launch.port, 15000)
    await busy(engine, spec, launch, 1)
    process.signal(TERM)
    until(lambda: _closed(launch.port), "the port closing")
    await asyncio.sleep(2)
    assert process.alive()
    process.signal(TERM)
    assert process.ended() == 1
    client.close()


async def test_the_ladder_of_an_engine_with_requests_in_flight_ends_it(engine, start, gguf_models):
    spec = spec_of(model=str(gguf_models / "slow.gguf"), context=16384)
    launch, process = await serving(engine, start, spec)
    client = ask(launch.port, 15000)
    await busy(engine, spec, launch, 1)
    (rung,) = engine.ladder(spec, launch, state=ServiceState.DRAINING, drained=False)
    assert rung.act == "kill"
    process.signal(KILL)
    assert process.ended() == -KILL
    client.close()


async def test_clients_that_have_gone_are_not_in_flight(engine, start, gguf_models):
    spec = spec_of(model=str(gguf_models / "slow.gguf"), context=16384)
    launch, _ = await serving(engine, start, spec)
    clients = [ask(launch.port, 15000) for _ in range(2)]
    await busy(engine, spec, launch, 2)
    for client in clients:
        client.close()
    await busy(engine, spec, launch, 0)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"model": "/nonexistent.gguf"}, "No such file"),
        ({"args": ("--bogus",)}, "--bogus"),
        ({"args": ("--no-mmap",)}, "--no-mmap"),
        ({"args": ("--keep", "many")}, "--keep"),
        ({"mmproj": "/nonexistent.gguf"}, "/nonexistent.gguf"),
        ({"draft": Draft("mtp", n_max=2)}, "no MTP layers"),
        ({"draft": Draft("model", model="/nonexistent.gguf")}, "/nonexistent.gguf"),
        ({"slow": True, "context": 20_000_000}, "out of memory on the host: needed"),
    ],
)
async def test_every_failure_exits_with_1_and_the_log_says_why(engine, start, gguf_models, keys, says):
    model = "slow.gguf" if keys.pop("slow", False) else "tiny.gguf"
    launch = await launch_of(engine, spec_of(**({"model": str(gguf_models / model)} | keys)))
    process = start(launch.argv, launch.env)
    assert process.ended() == 1
    assert says in engine.explain(process.lines, None, launch)


async def test_a_gpu_that_the_build_cannot_use_is_no_silent_fall_to_the_cpu(engine, start, gguf_models):
    spec = spec_of(model=str(gguf_models / "tiny.gguf"))
    launch = await launch_of(engine, spec, cards=("GPU-aaaa",))
    process = start(launch.argv, launch.env)
    assert process.ended() == 1
    assert "built without CUDA" in engine.explain(process.lines, None, launch)
    silent = tuple(word for word in launch.argv if word not in {"--device", "CUDA0"})
    fallen = start(silent, launch.env, log="silent.log")
    await ready(engine, spec, launch, fallen)


async def test_a_taken_port_is_found_before_the_model_is_loaded(engine, start, gguf_models):
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        launch = await launch_of(engine, spec_of(model=str(gguf_models / "slow.gguf")), port=port)
        process = start(launch.argv, launch.env)
        assert process.ended() == 1
    assert engine.explain(process.lines, None, launch) == f"port {port} is taken"


async def test_a_foreign_server_on_the_port_is_not_ours(engine, start, gguf_models):
    spec = spec_of(model=str(gguf_models / "tiny.gguf"), served_name="foreign")
    launch, _ = await serving(engine, start, spec)
    ours = replace(spec, served_name="ours")
    assert (await engine.probe(ours, launch)).readiness is Readiness.WRONG_MODEL


def _closed(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
