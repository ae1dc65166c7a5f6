"""A target that answers nobody, and recipes whose harness is a short script."""

import json
import sys
from pathlib import Path

from gpumod.bench.suites.exec import suite
from gpumod.bench.suites.exec.recipe import read_recipe
from gpumod.core.job_ports import Endpoint
from gpumod.testing.clock import FakeClock

ENDPOINT = Endpoint(
    "gemma",
    "http://127.0.0.1:18001",
    "gemma-3",
    "llama.cpp",
    context=8192,
    files=("/models/gemma.gguf",),
    cards=("GPU-1", "GPU-2"),
)
NUMBER = {
    "format": "json",
    "metrics": {
        "speed": {"definition": "It.", "unit": "tokens/s", "larger_is_better": True, "value": "speed"}
    },
}


class FakeBench:
    """The port without a box; visits are noted."""

    def __init__(self, endpoint=ENDPOINT):
        self.endpoint = endpoint
        self.clock = FakeClock()
        self.visits = []

    async def visit(self, mode, meanwhile=None):
        self.visits.append(f"to {mode}")
        await meanwhile()
        self.visits.append("back")


def recipe(script, *words, **other):
    """The document of a recipe that runs a Python script."""
    return {
        "recipe": "mine",
        "version": 1,
        "description": "A harness of my own.",
        "install": "write it",
        "argv": [sys.executable, "-S", "-c", script, *words],
        "results": [NUMBER],
        **other,
    }


def write(folder, document):
    """The recipe's file in a folder of one's own."""
    Path(folder).mkdir(exist_ok=True)
    path = Path(folder, f"{document['recipe']}.yaml")
    path.write_text(json.dumps(document, indent=1))
    return path


def suite_with(folder, document, user=None):
    """The suite where the folder has this recipe."""
    write(folder, document)
    return suite(Path(folder), user)


def read(folder, document):
    """The recipe of a document; it has to be right."""
    found, problems = read_recipe(write(folder, document))
    assert not problems
    return found


async def run(folder, document, endpoint=ENDPOINT, bench=None, **given):
    """The one sample of a job with this recipe, and its metrics."""
    one = suite_with(folder, document)
    parameters = one.parameters({"recipe": document["recipe"], **given})
    bench = bench or FakeBench(endpoint)
    (case,) = one.cases(parameters, endpoint)
    sample = await one.run(case, parameters, bench)
    return sample, one.metrics([sample], parameters)
