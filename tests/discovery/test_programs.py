"""Engine programs: which is taken, and where they are looked for."""

import asyncio

from gpumod.config.settings import EnginePrograms
from gpumod.core.ports import EngineBuild
from gpumod.core.spec import EngineKind
from gpumod.discovery import programs
from gpumod.discovery.programs import Program, best_program, find_programs

SERVER = """#!/bin/sh
case "$1" in
--version) echo 'version: {number} (abc)' >&2 ;;
--help) echo '--port N'; echo '--ctx-size N'; echo '--alias NAME' ;;
esac
"""


def llama(name, number, *, cuda=False, **keys):
    build = EngineBuild(name, f"{number} (abc)")
    return Program(EngineKind.LLAMA_CPP, name, build, cuda=cuda, **keys)


def best(*found, nvidia=True):
    program = best_program(found, EngineKind.LLAMA_CPP, nvidia=nvidia)
    return program and program.name


def executable(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_what_is_configured_is_taken():
    assert best(llama("/a", 9000, cuda=True), llama("/b", 1, configured=True)) == "/b"


def test_where_there_are_cards_a_build_with_cuda_is_taken():
    assert best(llama("/a", 9000, found=True), llama("/b", 1, cuda=True)) == "/b"
    assert best(llama("/a", 9000, found=True), llama("/b", 1, cuda=True), nvidia=False) == "/a"


def test_else_path_decides_and_then_the_newest():
    assert best(llama("/a", 2), llama("/b", 1, found=True)) == "/b"
    assert best(llama("/a", 2), llama("/b", 10)) == "/b"
    assert best(llama("embedded", 20261011549), llama("/b", 10)) == "/b"


def test_a_program_that_does_not_answer_is_not_taken():
    broken = Program(EngineKind.LLAMA_CPP, "/a", problem="it is no llama-server", configured=True)
    assert best(broken, llama("/b", 1)) == "/b"
    assert best(broken) is None


def test_builds_are_found_in_the_usual_places_each_once(tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "find_spec", lambda _: None)
    home = tmp_path / "home"
    built = executable(home / "llama.cpp/build/bin/llama-server", SERVER.format(number=7000))
    other = executable(tmp_path / "bin/llama-server", SERVER.format(number=6000))
    (home / "bin").mkdir()
    (home / "bin/llama-server").symlink_to(built)
    env = {"HOME": str(home), "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"}
    found = [
        one for one in asyncio.run(find_programs(EnginePrograms(), env)) if one.name.startswith(str(tmp_path))
    ]
    assert {one.name: one.build and one.build.version for one in found} == {
        str(other): "6000 (abc)",
        str(built): "7000 (abc)",
    }
    assert [one.name for one in found if one.found] == [str(other)]


def test_a_program_that_is_none_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "find_spec", lambda _: None)
    wrong = executable(tmp_path / "llama-server", "#!/bin/sh\necho hello\n")
    found = asyncio.run(find_programs(EnginePrograms(llama_cpp=str(wrong)), {"PATH": "/usr/bin:/bin"}))
    (one,) = [one for one in found if one.name == str(wrong)]
    assert one.configured
    assert one.build is None
    assert "no llama-server" in one.problem


def test_cuda_is_told_by_files(tmp_path):
    plain = executable(tmp_path / "plain/bin/llama-server", SERVER.format(number=1))
    assert not programs._has_cuda(str(plain))
    (tmp_path / "plain/lib").mkdir()
    (tmp_path / "plain/lib/libggml-cuda.so").touch()
    assert programs._has_cuda(str(plain))
    static = executable(tmp_path / "static/llama-server", "...\0libcudart.so.12\0...")
    assert programs._has_cuda(str(static))


def test_a_vllm_in_a_venv_of_the_home_is_found(tmp_path):
    script = executable(tmp_path / "vllm-env/.venv/bin/vllm", "#!/bin/sh\n")
    found = programs._existing("vllm", programs._VLLM, {"HOME": str(tmp_path), "PATH": "/nowhere"})
    assert str(script) in found
