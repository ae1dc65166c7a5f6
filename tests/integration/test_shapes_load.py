"""llama.cpp itself loads the shapes: every tensor is one that it asks for, and none is missing."""

import json
import subprocess
import sys

import pytest

from gpumod.testing.shapes import TINY, write_shape

pytest.importorskip("xllamacpp", reason="the embedded extra is not installed")

LOADER = """
import json, os, sys, xllamacpp
servers = []
for name, model, projector in json.loads(sys.argv[1]):
    params = xllamacpp.CommonParams()
    params.model.path, params.mmproj.path = model, projector
    params.n_ctx, params.n_parallel, params.port = 512, 1, 0
    params.cpuparams.n_threads = 1
    params.embedding = "bert" in name
    try:
        servers.append(xllamacpp.Server(params))
        print("loaded", name, flush=True)
    except RuntimeError:
        print("refused", name, flush=True)
os._exit(0)
"""


def loaded(models, log):
    """The names of the models that load, in one process: each takes some milliseconds then."""
    with log.open("w") as errors:
        done = subprocess.run(
            [sys.executable, "-c", LOADER, json.dumps(models)],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, log.read_text()[-2000:]
    return {line.split()[1] for line in done.stdout.splitlines() if line.startswith("loaded ")}


def test_every_tiny_model_loads(tmp_path):
    models = [(name, str(write_shape(name, tmp_path / f"{name}.gguf")), "") for name in TINY]
    log = tmp_path / "log"
    assert loaded(models, log) == set(TINY), log.read_text()[-2000:]


def test_a_model_in_parts_loads(tmp_path):
    first = write_shape("tiny-qwen3moe", tmp_path / "m.gguf", parts=3)
    assert loaded([("split", str(first), "")], tmp_path / "log") == {"split"}


def test_a_projector_loads_beside_its_model_only(tmp_path):
    model = str(write_shape("tiny-gemma3", tmp_path / "m.gguf"))
    fitting = str(write_shape("tiny-gemma3-projector", tmp_path / "p.gguf"))
    other = str(write_shape("tiny-gemma3-projector", tmp_path / "o.gguf", embedding=512))
    pairs = [("fitting", model, fitting), ("other", model, other)]
    assert loaded(pairs, tmp_path / "log") == {"fitting"}
