"""What is decided when the daemon is put together."""

import os
import pwd

import pytest

from gpumod import wiring
from gpumod.core.errors import ConfigError
from gpumod.hardware.procfs import ProcessStat
from gpumod.wiring import boot_id, check_engine_user

NOBODY = pwd.getpwuid(65534).pw_name


@pytest.mark.parametrize(
    ("user", "root", "in_unit", "reason"),
    [
        ("root", True, True, "engines never run as root"),
        ("no-such-user", True, False, "no such user"),
        (None, True, True, "never run as root"),
        (NOBODY, False, False, "only a daemon that runs as root"),
    ],
)
def test_engine_users_that_cannot_be(user, root, in_unit, reason, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000)
    with pytest.raises(ConfigError, match=reason):
        check_engine_user(user, root=root, in_unit=in_unit)


@pytest.mark.parametrize(
    ("user", "uid", "in_unit"),
    [(NOBODY, 0, True), (NOBODY, 65534, True), (None, 1000, True), (None, 0, False)],
)
def test_engine_users_that_can_be(user, uid, in_unit, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    check_engine_user(user, root=uid == 0, in_unit=in_unit)


def test_a_container_that_is_restarted_has_booted_although_its_kernel_has_not(monkeypatch):
    started = iter((5, 5, 77))
    monkeypatch.setattr(wiring, "read_stat", lambda _root, _pid: ProcessStat(next(started), alive=True))
    first, again, later = boot_id(), boot_id(), boot_id()
    assert first == again != later
    monkeypatch.setattr(wiring, "read_stat", lambda _root, _pid: None)  # hidden by hidepid
    assert first.startswith(f"{boot_id()}-")
