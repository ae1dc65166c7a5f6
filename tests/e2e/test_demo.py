"""`make demo`: what a new user sees first, on real llama.cpp."""

import subprocess
import sys

import pytest


def test_the_demonstration_goes_as_announced_and_leaves_nothing_running(tmp_path):
    pytest.importorskip("xllamacpp")
    done = subprocess.run(
        [sys.executable, "-m", "gpumod.testing.demo"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    for seen in ("refused", "rolled back", "adopted", "nothing is left running"):
        assert seen in done.stdout
