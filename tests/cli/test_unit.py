"""The daemon's systemd unit: what is written, what is run, and that systemd understands it."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gpumod.cli import unit
from gpumod.cli.commands import doctor
from gpumod.cli.unit import Variant
from gpumod.core.errors import GpumodError, InvalidRequestError, NotAllowedError
from gpumod.resources import shipped


class Commands(list[tuple[str, ...]]):
    """Stands for the system: notes every command, and says that all went well."""

    def __call__(self, command):
        self.append(command)
        return ""


DOCS = Path(__file__).resolve().parents[2] / "docs/operations.md"
PYTHON = "/usr/bin/env"
needs_analyze = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed"
)


def rendered(variant, command=(PYTHON,), env=None):
    return unit.render(variant, command, unit.environment(variant, env or {}, engine_user=None))


@pytest.mark.parametrize("variant", Variant)
def test_the_unit_needs_no_editing(variant):
    text = rendered(variant)
    assert "@" not in re.sub(r"@system-service", "", text)
    assert f'ExecStart="{PYTHON}"' in text
    for setting in (
        "Type=notify",
        "WatchdogSec=",
        "NotifyAccess=main",
        "KillMode=mixed",
        "Restart=on-failure",
    ):
        assert setting in text


@pytest.mark.parametrize("hiding", ["PrivateDevices", "ProtectProc", "PrivateNetwork", "PrivateUsers"])
def test_hardening_hides_neither_cards_nor_processes(hiding):
    assert not re.search(rf"^{hiding}\s*=", rendered(Variant.SYSTEM), re.MULTILINE)


def test_words_survive_systemds_quoting():
    assert unit.quoted('/a b/%h/"x"\\$y', command=True) == '"/a b/%%h/\\"x\\"\\\\$$y"'
    assert unit.quoted("PATH=$x") == '"PATH=$x"'
    with pytest.raises(InvalidRequestError):
        unit.quoted("a\nExecStartPre=/bin/evil")


def test_a_users_unit_finds_the_engines_that_the_user_finds():
    env = {"PATH": "/home/ada/bin:.:/usr/bin::/usr/bin", "GPUMOD_CONFIG": "/home/ada/g"}
    found = unit.environment(Variant.USER, env, engine_user=None)
    assert found == {"PATH": "/home/ada/bin:/usr/bin", "GPUMOD_CONFIG": "/home/ada/g"}


def test_the_system_unit_runs_engines_as_somebody_unprivileged():
    found = unit.environment(Variant.SYSTEM, {"PATH": "/home/ann/bin"}, engine_user=None)
    assert found["GPUMOD_ENGINE_USER"] == "gpumod-engine"
    assert "/home/ann" not in found["PATH"]
    assert "GPUMOD_ENGINE_USER" not in unit.environment(Variant.SYSTEM, {}, engine_user="llm")


def test_a_users_installation_needs_no_root_and_lingers(tmp_path):
    env = {"HOME": str(tmp_path)}
    install = unit.installation(Variant.USER, env, "text", user="nobody-who-lingers")
    ran = Commands()
    done = unit.apply(install, ran)
    file = tmp_path / ".config/systemd/user/gpumodd.service"
    assert file.read_text() == "text"
    assert file.stat().st_mode & 0o777 == 0o644
    assert ran == [
        ("systemctl", "--user", "show-environment"),
        ("systemctl", "--user", "daemon-reload"),
        ("systemctl", "--user", "enable", "gpumodd.service"),
        ("systemctl", "--user", "restart", "gpumodd.service"),
        ("loginctl", "enable-linger", "nobody-who-lingers"),
    ]
    assert len(done) == 5
    assert os.listdir(file.parent) == ["gpumodd.service"]


def test_linger_is_not_asked_for_where_it_is_on(tmp_path, monkeypatch):
    monkeypatch.setattr(unit, "_LINGER", str(tmp_path))
    (tmp_path / "ada").touch()
    for user, commands in (("ada", 3), ("eve", 4)):
        install = unit.installation(Variant.USER, {"HOME": str(tmp_path)}, "text", user=user)
        assert len(install.run) == commands


def test_the_engines_user_may_not_command_the_daemon():
    text = (shipped("systemd") / "gpumod.sysusers.conf").read_text()
    lines = [line.split() for line in text.splitlines() if not line.startswith("#")]
    assert ["g", "gpumod", "-"] in lines
    assert [line[1] for line in lines if line[0] == "u"] == [unit.ENGINE_USER]
    assert {line[2] for line in lines if line[0] == "m"} == {"render", "video"}


def test_a_system_installation_makes_the_user_of_the_engines_first():
    install = unit.installation(Variant.SYSTEM, {}, "text", user="root")
    assert install.run[:2] == (
        ("systemd-sysusers", "/etc/sysusers.d/gpumod.conf"),
        ("systemd-tmpfiles", "--create", "/etc/tmpfiles.d/gpumod.conf"),
    )
    assert [str(path) for path, _ in install.write] == [
        "/etc/sysusers.d/gpumod.conf",
        "/etc/tmpfiles.d/gpumod.conf",
        "/etc/systemd/system/gpumodd.service",
    ]
    assert all("--user" not in command for command in install.run)


def test_a_removal_stops_the_daemon_before_its_file_goes(tmp_path):
    env = {"HOME": str(tmp_path)}
    unit.apply(unit.installation(Variant.USER, env, "text", user="ada"), lambda _: "")
    file = unit.unit_file(Variant.USER, env)
    there = []

    def look(command):
        there.append((command[2], file.exists()))
        return ""

    unit.apply(unit.removal(Variant.USER, env), look)
    assert there == [("disable", True), ("daemon-reload", False)]


def test_a_command_that_fails_is_named_with_what_to_do(tmp_path):
    install = unit.installation(Variant.USER, {"HOME": str(tmp_path)}, "text", user="ada")
    with pytest.raises(GpumodError, match=r"`systemctl --user daemon-reload` failed: no"):
        unit.apply(install, lambda command: "no" if "daemon-reload" in command else "")
    with pytest.raises(GpumodError, match="journalctl --user -u gpumodd"):
        unit.apply(install, lambda command: "it failed" if "restart" in command else "")
    with pytest.raises(GpumodError, match=r"daemon runs.*sudo loginctl enable-linger ada"):
        unit.apply(install, lambda command: "Access denied" if command[0] == "loginctl" else "")


def test_without_a_running_manager_nothing_is_written(tmp_path):
    file = unit.unit_file(Variant.USER, {"HOME": str(tmp_path)})
    for variant, said, told in (
        (Variant.USER, "Failed to connect to bus: No medium found", "No user manager answers"),
        (Variant.USER, "systemctl is not installed", "Without systemd"),
        (Variant.SYSTEM, "System has not been booted with systemd as init system", "Without systemd"),
    ):
        made = unit.installation(variant, {"HOME": str(tmp_path)}, "text", user="ada")
        install = unit.Install(first=made.first, write=((file, "text"),), run=made.run)
        ran: list[tuple[str, ...]] = []

        def fail(command, said=said, ran=ran):
            ran.append(command)
            return said

        with pytest.raises(GpumodError, match=told):
            unit.apply(install, fail)
        assert ran == [(*unit.manager(variant), "show-environment")]
        assert not file.exists()


def test_a_removal_takes_the_file_away_though_the_manager_fails(tmp_path):
    env = {"HOME": str(tmp_path)}
    unit.apply(unit.installation(Variant.USER, env, "text", user="ada"), lambda _: "")
    file = unit.unit_file(Variant.USER, env)
    with pytest.raises(
        GpumodError, match=r"disable --now gpumodd.service` failed: no.*removed .* all the same"
    ):
        unit.apply(unit.removal(Variant.USER, env), lambda _: "no")
    assert not file.exists()


def test_a_place_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    install = unit.Install(write=((tmp_path / "file/x.service", ""),), run=(("true",),))
    ran = Commands()
    with pytest.raises(GpumodError, match="cannot be written"):
        unit.apply(install, ran)

    def denied(*_, **__):
        raise PermissionError

    monkeypatch.setattr(Path, "mkdir", denied)
    with pytest.raises(NotAllowedError, match="as root"):
        unit.apply(install, ran)
    assert ran == []


def test_what_systemctl_says_is_kept():
    assert "not installed" in unit.run_command(("no-such-program-of-gpumod",))
    assert unit.run_command(("sh", "-c", "echo no >&2; exit 3")) == "no"
    assert unit.run_command(("true",)) == ""


# --- what systemd says ----------------------------------------------------------------------


@pytest.fixture
def unit_files(tmp_path):
    names = {Variant.SYSTEM: "gpumodd.service", Variant.USER: "user/gpumodd.service"}
    files = {variant: tmp_path / name for variant, name in names.items()}
    for variant, file in files.items():
        file.parent.mkdir(exist_ok=True)
        file.write_text(rendered(variant, ("/bin/true", "--config", "/a b/100%")))
    return files


def analyze(*args, **env):
    done = subprocess.run(
        ["systemd-analyze", *map(str, args)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | env,
    )
    return done.returncode, done.stdout


@needs_analyze
@pytest.mark.parametrize("variant", Variant)
def test_systemd_finds_nothing_wrong_with_the_unit(unit_files, variant, tmp_path):
    manager = ("--user",) if variant is Variant.USER else ()
    (tmp_path / "run").mkdir()
    code, said = analyze(*manager, "verify", unit_files[variant], XDG_RUNTIME_DIR=str(tmp_path / "run"))
    assert said == ""
    assert code == 0


@needs_analyze
@pytest.mark.parametrize("variant", Variant)
def test_the_documented_exposure_is_what_systemd_says(unit_files, variant):
    _, said = analyze("security", "--offline=true", "--no-pager", unit_files[variant])
    measured = re.findall(r"Overall exposure level for \S+: ([\d.]+)", said)
    documented = re.findall(rf"^\| {variant} \| ([\d.]+) \|", DOCS.read_text(), re.MULTILINE)
    # Versions of systemd weigh a little differently.
    assert abs(float(*measured) - float(*documented)) <= 0.3


# --- through the command --------------------------------------------------------------------


def test_print_shows_the_unit_of_this_installation(ctl, tmp_path):
    shown = ctl("doctor", "--install-unit", "--print", "--user")
    assert shown.code == 0
    assert f'ExecStart="{doctor.gpumodd()}"' in shown.out
    answer = ctl("doctor", "--install-unit", "--print", "--system", "--json").json
    assert answer["path"] == "/etc/systemd/system/gpumodd.service"
    assert "GPUMOD_ENGINE_USER=gpumod-engine" in answer["unit"]
    assert not (tmp_path / "config/systemd").exists()


def test_a_configuration_that_would_not_start_is_not_installed(ctl, tmp_path):
    (tmp_path / "config.yaml").write_text("boott: last\n")
    told = ctl("doctor", "--install-unit", "--user", "--config", tmp_path)
    assert told.code == 1
    assert "boott" in told.err
    assert not (tmp_path / "config/systemd").exists()


def test_installing_and_removing_through_the_command(ctl, tmp_path, monkeypatch):
    ran = Commands()
    monkeypatch.setattr(unit.apply, "__defaults__", (ran,))
    monkeypatch.setattr(unit, "_LINGER", str(tmp_path / "linger"))
    assert ctl("doctor", "--install-unit", "--user", "--config", tmp_path).code == 0
    text = (tmp_path / "config/systemd/user/gpumodd.service").read_text()
    assert f'"--config" "{tmp_path}"' in text
    assert ran[-1][:2] == ("loginctl", "enable-linger")
    assert ctl("doctor", "--uninstall-unit", "--user").code == 0
    assert not (tmp_path / "config/systemd/user/gpumodd.service").exists()


def test_options_that_contradict_each_other(ctl):
    assert ctl("doctor", "--install-unit", "--user", "--system").code == 2
    assert ctl("doctor", "--install-unit", "--uninstall-unit").code == 2
