"""The systemd runner against a real systemd: the contract, and what only systemd does.

The tests themselves run inside a box that has that systemd, started from here by a second pytest.
"""

import sys
from pathlib import Path

import pytest

from tests.systemd_box import SystemdBox, why_not

ROOT = Path(__file__).parents[2]
CONTRACT = "tests/contract/test_runner_contract.py"
SPECIFIC = "tests/runners/inside_systemd.py"
pytestmark = [pytest.mark.systemd, pytest.mark.skipif(bool(why_not()), reason=f"a systemd box {why_not()}")]


@pytest.fixture(scope="module")
def box():
    # A checkout in /tmp would be hidden by the box's own /tmp.
    with SystemdBox([ROOT] if ROOT.is_relative_to("/tmp") else []) as made:
        yield made


def pytest_in(box: SystemdBox, *arguments: str, before: tuple[str, ...] = (), **env: str) -> str:
    """What pytest prints in the box; fails where it fails."""
    options = ("-q", "-p", "no:cacheprovider", "--rootdir", str(ROOT), "--basetemp", "/var/tmp/pytest")
    names = (str(ROOT / argument) for argument in arguments)
    argv = (*before, sys.executable, "-B", "-m", "pytest", *options, *names)
    box.run(["rm", "-rf", "/var/tmp/pytest"])
    done = box.run(argv, env={"GPUMOD_TEST_SYSTEMD": "1", **env}, cwd=str(ROOT), timeout=300, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_the_system_manager_keeps_the_contract(box):
    assert "skipped" not in pytest_in(box, CONTRACT, SPECIFIC)


def test_a_user_manager_with_linger_keeps_the_contract(box):
    box.run(["useradd", "--create-home", "gpu"])
    box.run(["loginctl", "enable-linger", "gpu"])
    uid = box.run(["id", "-u", "gpu"]).stdout.strip()
    # In the box's own layer: the interpreter may lie in a home that others may not enter.
    for place in (Path(sys.executable), Path(sys.executable).resolve(), ROOT):
        box.run(["chmod", "a+x", *map(str, [*place.parents][:-1])])
    before = ("setpriv", "--reuid=gpu", "--regid=gpu", "--init-groups")
    pytest_in(box, CONTRACT, before=before, XDG_RUNTIME_DIR=f"/run/user/{uid}", HOME="/home/gpu")
