"""Every axis on which results differ is named, and nothing else is."""

import pytest

from gpumod.bench.comparison.argv import flags_of
from gpumod.bench.comparison.axes import axes_of, credit_of
from gpumod.bench.comparison.models import split_name
from tests.bench.comparison.made import ARGV, provenance, result, service

BASE = result("a")


def named(**more):
    return [axis.name for axis in axes_of([BASE, result("b", **more)])]


def of(**more):
    return named(provenance=provenance(service(**more)))


def file(path="/models/gemma-Q4_K_M.gguf", size=100, modified_ns=1):
    return {"path": path, "size": size, "modified_ns": modified_ns}


def test_the_same_has_no_axis():
    assert named() == []
    assert "No difference between them is recorded" in credit_of(())


@pytest.mark.parametrize(
    ("more", "axes"),
    [
        ({"files": [file(size=101)]}, ["model file"]),
        ({"files": [file(modified_ns=2)]}, ["model file"]),
        ({"files": [file("/other/gemma-Q4_K_M.gguf")]}, ["model file"]),
        ({"files": [file("/models/gemma-Q8_0.gguf", 200)]}, ["quantisation"]),
        ({"files": [file("/models/qwen-Q4_K_M.gguf")]}, ["model"]),
        ({"files": [file(), file("/models/mmproj-F16.gguf")]}, ["further files"]),
        ({"files": [file() | {"quant": "Q4_K_M"}]}, []),
        ({"files": [file() | {"quant": "Q6_K"}]}, ["quantisation"]),
        ({"engine": "vllm"}, ["engine"]),
        ({"build": "b9001"}, ["build"]),
        ({"argv": ["/usr/bin/llama-server", *ARGV[1:]]}, ["binary"]),
        ({"context": 4096}, ["context"]),
        ({"slots": 4}, ["slots"]),
        ({"kv_cache": {"k": "q8_0", "v": "q8_0"}}, ["KV type"]),
        ({"sampler": {"temperature": 1.0}}, ["preset's sampler"]),
        ({"argv": [*ARGV, "--flash-attn", "on"]}, ["flag --flash-attn"]),
        ({"argv": [*ARGV, "-fa", "on", "-ub", "256"]}, ["flag --flash-attn", "flag --ubatch-size"]),
        ({"argv": [*ARGV[:2], "9", *ARGV[3:]]}, []),
        ({"id": "other", "preset": "other", "fingerprint": "1"}, []),
        ({"something_new": 5}, ["something new"]),
    ],
)
def test_an_axis_of_the_launch_is_named(more, axes):
    assert of(**more) == axes


@pytest.mark.parametrize(
    ("more", "axes"),
    [
        ({"driver": "580.1"}, ["driver"]),
        ({"gpumod": "1.1"}, ["gpumod"]),
        ({"cards": [{"id": "GPU-2", "name": "RTX 4090", "total": 2**34}]}, ["which card"]),
        ({"cards": [{"id": "GPU-2", "name": "RTX 3090", "total": 2**34}]}, ["card"]),
        (
            {"cards": [{"id": "GPU-1", "name": "RTX 4090", "total": 2**34, "power_limit_watts": 300}]},
            ["power limit"],
        ),
        ({"host": {"system": "Linux", "memory": 2**36, "load": [9.0], "cpus": 16}}, ["host's load"]),
        ({"host": {"system": "Linux", "memory": 2**36, "load": [0.6], "cpus": 16}}, []),
        ({"host": {"system": "Linux 7", "memory": 2**36, "load": [0.5], "cpus": 16}}, ["host's system"]),
        ({"displays": ["Xorg"], "memory": {}, "asked": "b"}, []),
        ({"mains": "from another plug"}, ["mains"]),
        ({"services": []}, ["services"]),
    ],
)
def test_an_axis_of_the_box_is_named(more, axes):
    assert named(provenance=provenance() | more) == axes


def test_another_day_is_another_host_window():
    (axis,) = axes_of([BASE, result("b", started=1_100_000.0, ended=1_101_000.0)])
    assert axis.name == "host window"
    assert axis.values == ("1970-01-12 Mon 13:46 UTC", "1970-01-13 Tue 17:33 UTC")
    assert named(started=1_002_000.0, ended=1_003_000.0) == []


def test_another_suite_state_or_parameter_is_an_axis():
    assert named(suite_version="2", suite_hash="b" * 64) == ["suite's version", "suite's hash"]
    assert named(parameters={"iterations": 5, "max_tokens": 4096}) == ["parameter iterations"]


def test_one_axis_may_be_named_and_several_are_not_credited():
    one = credit_of(axes_of([BASE, result("b", provenance=provenance(driver="580.1"))]))
    assert one.startswith("The only recorded difference is driver (570.1 against 580.1)")
    two = credit_of(axes_of([BASE, result("b", provenance=provenance(driver="580.1", gpumod="2"))]))
    assert two.startswith("They differ on 2 axes (driver, gpumod)")


def test_services_of_a_mode_are_told_apart():
    both = result("m", provenance=provenance(service(id="x"), service(id="y")))
    other = result("n", provenance=provenance(service(id="x"), service(id="y", build="b1")))
    assert [axis.name for axis in axes_of([both, other])] == ["y: build"]


def test_a_provenance_of_another_shape_is_no_crash():
    for odd in (
        {},
        {"services": "x", "cards": 5, "host": [], "driver": None},
        {"services": [{"files": [3]}]},
    ):
        axes_of([BASE, result("b", provenance=odd)])


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/m/gemma-3-27b-it-qat-UD-Q4_K_XL.gguf", ("gemma-3-27b-it-qat", "UD-Q4_K_XL")),
        ("/m/Qwen3.6-35B-A3B-IQ4_XS-00001-of-00003.gguf", ("Qwen3.6-35B-A3B", "IQ4_XS")),
        ("/m/gpt-oss-20b-mxfp4.gguf", ("gpt-oss-20b", "MXFP4")),
        ("/m/Qwen3-8B-AWQ/model-00001-of-00002.safetensors", ("Qwen3-8B", "AWQ")),
        ("/h/hub/models--Qwen--Qwen3-8B-FP8/snapshots/0a/model.safetensors", ("Qwen/Qwen3-8B", "FP8")),
        ("/m/tiny.gguf", ("tiny", "")),
    ],
)
def test_the_quantisation_is_in_the_name(path, expected):
    assert split_name(path) == expected


def test_flags_are_read_by_their_long_names_without_places():
    argv = [
        "/opt/x",
        "serve",
        "/models/q",
        "-c=5",
        "--temp",
        "-1",
        "--lora",
        "/a/b.gguf",
        "--port",
        "1",
        "-v",
    ]
    assert flags_of(argv, ["/models/q/model.safetensors"]) == {
        "argument": "serve FILE", "--ctx-size": "5", "--temp": "-1", "--lora": "b.gguf", "-v": "on",
    }  # fmt: skip


def test_the_header_is_believed_and_the_name_is_told_beside_it():
    odd = service(files=[file("/models/gemma-UD-Q4_K_XL.gguf") | {"quant": "Q4_K_M"}])
    (axis,) = axes_of([BASE, result("b", provenance=provenance(odd))])
    assert (axis.name, axis.values) == ("quantisation", ("Q4_K_M", "Q4_K_M (named UD-Q4_K_XL)"))
