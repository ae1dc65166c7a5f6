"""llama-fit-params as a second opinion: what it is asked, what it answers, what happens without it."""

import stat
from pathlib import Path
from typing import Any

import pytest

from gpumod.core.names import HOST_CARD, CardId, PresetId, ServiceId
from gpumod.core.ports import EngineBuild
from gpumod.core.spec import Draft, EngineKind, KvCache, LlamaOptions, ServiceSpec
from gpumod.core.units import MIB
from gpumod.engines import oracle
from gpumod.engines.oracle import LlamaOracle, arguments, parse

GPU = CardId("GPU-a")
FLAGS = frozenset({"--device", "--cache-ram", "--no-kv-unified", "--fit", "--spec-type"})
PRINTED = (
    "ggml_cuda_init: found 2 CUDA devices:\n"
    "  Device 0: NVIDIA H200, compute capability 9.0\n"
    "0.00.288.602 I main: printing estimated memory in MiB to stdout (device, model, context, compute) ...\n"
    "CUDA0 7605 1024 304 \n"
    "CUDA1 7100 960 298 \n"
    "Host 532 0 24 \n"
)


def spec(**changes):
    given: dict[str, Any] = {"model": "/m.gguf", "context": 4096, "slots": 2} | changes
    return ServiceSpec(ServiceId("a"), PresetId("a"), EngineKind.LLAMA_CPP, **given)


def build(folder, traits=()):
    return EngineBuild(str(folder / "llama-server"), "1", FLAGS, traits=frozenset({"flash-value", *traits}))


def program(folder: Path, body: str) -> Path:
    path = folder / oracle.PROGRAM
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_the_table_is_read_in_bytes_and_logs_are_passed_over():
    found = parse(PRINTED)
    assert [one.device for one in found] == ["CUDA0", "CUDA1", "Host"]
    assert (found[0].model, found[0].context, found[0].compute) == (7605 * MIB, 1024 * MIB, 304 * MIB)
    assert found[2].total == 556 * MIB


@pytest.mark.parametrize("text", ["", "no table", "CUDA0 1 2", "CUDA0 1 2 x", "CUDA0 99999999999 1 1"])
def test_what_is_no_table_gives_no_devices(text):
    assert parse(text) == ()


def test_it_is_asked_with_the_servers_own_sizes(tmp_path):
    asked = spec(
        kv_cache=KvCache("q8_0", "q4_0"),
        llama=LlamaOptions(ubatch=256, cpu_moe_layers=4, flash_attention=True, threads=3),
        draft=Draft("mtp", n_max=2),
        mmproj="/p.gguf",
        sampler=(("temperature", 0.5),),
        args=("--jinja", "-ot", "exps=CPU", "--override-kv", "a.block_count=int:3"),
    )
    words = arguments(asked, build(tmp_path), (GPU, CardId("GPU-b")), (20, 21))
    text = " ".join(words)
    for part in (
        "--model /m.gguf", "--parallel 2", "--ctx-size 8192", "--cache-type-k q8_0 --cache-type-v q4_0",
        "--flash-attn on", "--ubatch-size 256", "--device CUDA0,CUDA1", "--tensor-split 20,21",
        "--n-cpu-moe 4",
        "-ot exps=CPU", "--override-kv a.block_count=int:3",
    ):  # fmt: skip
        assert part in text
    for flag in ("--port", "--host", "--alias", "--metrics", "--mmproj", "--spec-type", "--jinja", "--temp",
                 "--threads", "--no-kv-unified", "--fit", "--cache-ram"):  # fmt: skip
        assert flag not in words


async def test_its_answer_comes_with_its_limits(tmp_path):
    program(
        tmp_path, 'printf "CUDA0 10 2 1 \\nHost 3 0 1 \\n"; echo "$CUDA_VISIBLE_DEVICES $*" >> "$0.asked"'
    )
    found = await LlamaOracle().ask(spec(), build(tmp_path), (GPU,), ())
    assert [one.total for one in found.devices] == [13 * MIB, 4 * MIB]
    assert any("--spec-type" in one for one in found.limits)
    assert any("projector" in one for one in found.limits)
    asked = (tmp_path / f"{oracle.PROGRAM}.asked").read_text()
    assert asked.startswith("GPU-a ")
    assert asked.rstrip().endswith("--fit-print on")


async def test_where_there_is_none_it_says_so(tmp_path):
    found = await LlamaOracle().ask(spec(), build(tmp_path), (GPU,), ())
    assert found.devices == ()
    assert "there is no llama-fit-params beside" in found.trouble


async def test_the_embedded_server_has_none(tmp_path):
    program(tmp_path, 'echo "CUDA0 1 1 1"')
    found = await LlamaOracle().ask(spec(), build(tmp_path, {"embedded"}), (HOST_CARD,), ())
    assert found.trouble


async def test_a_failure_is_told_in_its_own_words(tmp_path):
    program(tmp_path, 'echo "loading"; echo "error: invalid argument: --x" >&2; exit 1')
    found = await LlamaOracle().ask(spec(), build(tmp_path), (GPU,), ())
    assert found.trouble == "llama-fit-params ended with code 1: error: invalid argument: --x"


async def test_one_that_hangs_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(oracle, "BOUND", 0.05)
    program(tmp_path, "exec sleep 60")
    found = await LlamaOracle().ask(spec(), build(tmp_path), (GPU,), ())
    assert "did not answer within" in found.trouble


async def test_one_that_cannot_be_run_is_told(tmp_path):
    program(tmp_path, "").chmod(0o600)
    found = await LlamaOracle().ask(spec(), build(tmp_path), (GPU,), ())
    assert "cannot be run" in found.trouble
