"""`init`: what it finds, what it writes, and what it leaves alone."""

import contextlib
import json
import shutil
import struct

import pytest

from gpumod.client import Client
from gpumod.testing.gguf import TINY, write_gguf
from tests.client.conftest import short_path  # noqa: F401
from tests.client.served import served

CHAT = "tiny-chat"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home with nothing in it, on a box whose card is the host's memory, without a daemon."""
    place = tmp_path / "home"
    place.mkdir()
    for name in (
        "GPUMOD_ALLOWED_SKIPS",  # the test run's own
        "GPUMOD_CONFIG",
        "HF_HOME",
        "HF_HUB_CACHE",
        "LLAMA_CACHE",
        "OLLAMA_MODELS",
        "XDG_CACHE_HOME",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("HOME", str(place))
    monkeypatch.setenv("GPUMOD_SOCKET", str(tmp_path / "no-daemon"))
    monkeypatch.setenv("GPUMOD_CARDS", "host")
    return place


@pytest.fixture
def models(tmp_path):
    """A folder with one small model."""
    place = tmp_path / "models"
    place.mkdir()
    write_gguf(place / f"{CHAT}.gguf", name="Tiny Chat")
    return place


def folder_of(home):
    return home / ".config/gpumod"


def files_of(home):
    return {
        str(path.relative_to(folder_of(home))): path.read_text()
        for path in sorted(folder_of(home).rglob("*"))
        if path.is_file()
    }


def of(answer, kind):
    return {one["path"].rpartition("/")[2]: one for one in answer.json[kind]}


def test_an_empty_home_gets_a_preset_and_a_mode_that_config_check_accepts(ctl, home, models):
    told = ctl("init", models)
    assert told.code == 0
    assert CHAT in told.out
    assert "gpumodctl switch main" in told.out
    assert set(files_of(home)) == {"config.yaml", "modes/main.yaml", f"presets/{CHAT}.yaml"}
    assert f"MODELS: {models}" in files_of(home)["config.yaml"]
    assert f"model: ${{MODELS}}/{CHAT}.gguf" in files_of(home)[f"presets/{CHAT}.yaml"]
    checked = ctl("config", "check", "--json")
    assert (checked.code, checked.json["problems"]) == (0, [])


def test_the_answer_for_programs_has_everything(ctl, home, models):
    (models / "broken.gguf").write_bytes(b"GGUF\x03\x00\x00\x00")
    (models / "half.gguf.part").write_bytes(b"GGUF")
    answer = ctl("init", models, "--json")
    (model,) = answer.json["models"]
    assert model["path"] == str(models / f"{CHAT}.gguf")
    assert (model["preset"], model["action"], model["engine"]) == (CHAT, "new", "llama.cpp")
    assert (model["task"], model["context"]) == ("chat", TINY.context)
    assert model["cards"][0] > 0
    assert set(of(answer, "skipped")) == {"broken.gguf", "half.gguf.part"}
    assert answer.json["mode"] == "main"
    assert [one["action"] for one in answer.json["files"]] == ["new"] * 3
    assert answer.json["looked"][0] == {"path": str(models), "there": True, "models": 1}
    assert answer.json["next"][1] == "gpumodctl switch main"


def test_without_a_model_it_says_where_it_looked_and_writes_nothing(ctl, home):
    told = ctl("init")
    assert told.code == 5
    assert f"{home}/models (not there)" in told.out
    assert "gpumodctl init FOLDER" in told.out
    assert not folder_of(home).exists()


def test_a_dry_run_shows_and_writes_nothing(ctl, home, models):
    told = ctl("init", models, "--dry-run")
    assert told.code == 0
    assert f"id: {CHAT}" in told.out
    assert not folder_of(home).exists()


def test_a_second_run_keeps_everything(ctl, home, models):
    ctl("init", models)
    before = files_of(home)
    answer = ctl("init", models, "--json")
    assert answer.code == 0
    assert {one["action"] for one in (*answer.json["files"], *answer.json["models"])} == {"kept"}
    assert files_of(home) == before


def test_a_new_model_is_added_and_what_is_there_stays(ctl, home, models):
    ctl("init", models)
    before = files_of(home)
    write_gguf(models / "Second Model.gguf", seed=1)
    ctl("init", models)
    after = files_of(home)
    assert after.keys() - before.keys() == {"presets/second-model.yaml"}
    assert all(after[name] == text for name, text in before.items())
    assert ctl("config", "check").code == 0


def test_an_id_that_the_user_has_is_not_taken_again(ctl, home, models):
    mine = folder_of(home) / "presets/mine.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text(f"id: {CHAT}\nengine: command\ncommand: {{cmd: [/bin/true, '${{PORT}}']}}\n")
    ctl("init", models)
    assert mine.read_text().startswith(f"id: {CHAT}\n")
    assert f"presets/{CHAT}-2.yaml" in files_of(home)
    assert ctl("config", "check").code == 0


def test_a_model_that_a_preset_of_the_users_runs_gets_no_other(ctl, home, models):
    mine = folder_of(home) / "presets/mine.yaml"
    mine.parent.mkdir(parents=True)
    (home / "link").symlink_to(models)
    mine.write_text(f"id: mine\nengine: llama.cpp\nmodel: ~/link/{CHAT}.gguf\ncontext: 2048\n")
    answer = ctl("init", models, "--json")
    assert [(one["preset"], one["action"]) for one in answer.json["models"]] == [("mine", "kept")]
    assert set(files_of(home)) == {"modes/main.yaml", "presets/mine.yaml"}
    assert "- mine" in files_of(home)["modes/main.yaml"]


def test_force_writes_anew_only_what_nobody_changed(ctl, home, models):
    write_gguf(models / "other.gguf", seed=1)
    ctl("init", models)
    edited = folder_of(home) / f"presets/{CHAT}.yaml"
    edited.write_text(edited.read_text().replace("context: 4096", "context: 1024"))
    answer = ctl("init", models, "--force", "--json")
    assert {name: one["action"] for name, one in of(answer, "files").items()} == {
        "config.yaml": "replaced",
        "main.yaml": "replaced",
        "other.yaml": "replaced",
        f"{CHAT}.yaml": "kept",
    }
    assert "context: 1024" in edited.read_text()


def test_the_users_own_settings_are_left_alone_and_used(ctl, home, models):
    config = folder_of(home) / "config.yaml"
    config.parent.mkdir(parents=True)
    config.write_text(f"vars: {{HERE: {models.parent}}}\nengines: {{llama.cpp: {{binary: embedded}}}}\n")
    before = config.read_text()
    assert ctl("init", models, "--force").code == 0
    assert config.read_text() == before
    assert f"model: ${{HERE}}/models/{CHAT}.gguf" in files_of(home)[f"presets/{CHAT}.yaml"]
    assert ctl("config", "check").code == 0


def test_a_program_that_settings_do_not_name_is_named_in_the_preset(ctl, home, models, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    config = folder_of(home) / "config.yaml"
    config.parent.mkdir(parents=True)
    config.write_text("boot: blank\n")
    ctl("init", models)
    assert "binary: embedded" in files_of(home)[f"presets/{CHAT}.yaml"]


def test_settings_with_mistakes_are_told_and_nothing_is_written(ctl, home, models):
    config = folder_of(home) / "config.yaml"
    config.parent.mkdir(parents=True)
    config.write_text("boott: last\n")
    told = ctl("init", models)
    assert told.code == 1
    assert "boott" in told.err
    assert set(files_of(home)) == {"config.yaml"}


def test_a_folder_for_the_files_can_be_named_and_need_not_be_there(ctl, home, models, tmp_path):
    place = tmp_path / "new/config"
    told = ctl("init", models, "--config", place)
    assert told.code == 0
    assert f"--config {place}" in told.out
    assert ctl("config", "check", "--config", place).code == 0
    assert not folder_of(home).exists()


def test_a_folder_that_may_not_be_written_is_told(ctl, home, models, tmp_path):
    (tmp_path / "file").write_text("")
    told = ctl("init", models, "--config", tmp_path / "file/config")
    assert told.code == 2
    assert "cannot be written" in told.err


def test_a_split_model_is_one_preset(ctl, home, models):
    shutil.rmtree(models)
    models.mkdir()
    for number in (1, 3):
        write_gguf(models / f"half-0000{number}-of-00003.gguf")
    answer = ctl("init", models, "--json")
    assert answer.json["models"] == []
    assert of(answer, "skipped")["half-00001-of-00003.gguf"]["reason"].endswith("missing: 2")


def test_a_checkpoint_without_a_gpu_or_vllm_is_told(ctl, home, models):
    folder = models / "Qwen3-8B-AWQ"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"architectures": ["Qwen3ForCausalLM"]}))
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 2) + b"{}")
    answer = ctl("init", models, "--json")
    assert of(answer, "skipped")["Qwen3-8B-AWQ"]["reason"] == "vLLM needs a GPU"


def test_hundreds_of_files_and_odd_names(ctl, home, models):
    for number in range(200):
        (models / f"{number}.txt").write_text("no model")
        (models / f"part-{number}.gguf").write_bytes(b"GGUF")
    odd = models / "sub: dir # 'x' ${HOME}"
    odd.mkdir()
    shutil.copy(models / f"{CHAT}.gguf", odd / "Ünïcode [1].gguf")
    answer = ctl("init", models, "--json")
    assert len(answer.json["skipped"]) == 200
    assert {one["preset"] for one in answer.json["models"]} == {CHAT, "n-code-1"}
    assert ctl("config", "check").code == 0
    told = ctl("init", models)
    assert "and 160 more" in told.out


def test_a_running_daemon_reads_the_files_again(ctl, home, models, quiet_box):
    told = ctl("init", models)
    assert "gpumodctl preflight main" in told.out


@pytest.fixture
def daemon_of(short_path, monkeypatch):  # noqa: F811
    """A daemon that reads a folder; what `init` says to it is kept."""
    with contextlib.ExitStack() as running:

        def serve(folder):
            daemon = running.enter_context(served(short_path, config_dir=str(folder)))
            monkeypatch.setenv("GPUMOD_SOCKET", daemon.socket)
            return daemon

        yield serve


@pytest.fixture
def reloads(monkeypatch):
    """Counts how often a daemon was told to read its files again."""
    told: list[Client] = []
    real = Client.reload

    def reload(client):
        told.append(client)
        return real(client)

    monkeypatch.setattr(Client, "reload", reload)
    return told


def test_a_daemon_of_this_folder_by_another_name_reads_it_again(ctl, home, models, daemon_of, reloads):
    (home / "link").symlink_to(folder_of(home))
    daemon_of(home / "link")
    assert ctl("init", models, "--json").json["next"][0] == "gpumodctl preflight main"
    assert reloads


def test_a_daemon_of_another_folder_is_left_alone_and_that_is_said(
    ctl, home, models, tmp_path, daemon_of, reloads
):
    daemon_of(folder_of(home))
    place = tmp_path / "new config"
    answer = ctl("init", models, "--config", place, "--json")
    assert answer.json["next"][0] == f"gpumodd --foreground --config '{place}'"
    assert str(folder_of(home)) in answer.json["notes"][-1]
    assert not reloads
    assert "gpumodd --foreground" in ctl("init", models, "--config", place).out


def test_a_daemon_of_another_box_is_left_alone(ctl, home, models, reloads, monkeypatch):
    monkeypatch.delenv("GPUMOD_SOCKET")
    answer = ctl("--host", "192.0.2.1", "init", models, "--json")
    assert "192.0.2.1" in answer.json["notes"][-1]
    assert answer.json["next"][0].startswith("gpumodd --foreground --config ")
