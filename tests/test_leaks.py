"""The checks of tests/conftest.py catch what they are there for."""

import textwrap
from pathlib import Path

import psutil
import pytest

CONFTEST = Path(__file__).with_name("conftest.py").read_text()
IMPATIENT = CONFTEST + "\n_GRACE = 0.5\n"

LEAKY = """
    import asyncio, os, signal, socket, subprocess, sys, threading, time
    import pytest

    kept, stop = [], threading.Event()

    async def test_task():
        kept.append(asyncio.create_task(asyncio.sleep(60), name="forgotten"))

    def test_thread():
        threading.Thread(target=stop.wait, args=(20,), name="forgotten", daemon=True).start()

    def test_file_descriptor():
        kept.append(socket.socket())

    def test_child():
        kept.append(subprocess.Popen(["sleep", "61.25"]))

    def test_orphan():
        # The leader ends at once; its child left the process group and is adopted by us.
        subprocess.run([sys.executable, "-c",
            "import subprocess; subprocess.Popen(['sleep', '62.25'], start_new_session=True)"], check=True)

    def test_tree_that_ignores_sigterm():
        kept.append(subprocess.Popen(["bash", "-c", "trap '' TERM; sleep 63.25 & sleep 63.25 & wait"]))
        time.sleep(0.2)

    def test_clean_after_all_that():
        pass
"""

CLEAN = """
    import asyncio, subprocess, threading
    import pytest
    import pytest_asyncio

    @pytest.fixture(scope="module")
    def server():
        with subprocess.Popen(["sleep", "64.25"]) as process:
            yield process
            process.kill()

    @pytest_asyncio.fixture
    async def background():
        task = asyncio.create_task(asyncio.sleep(60))
        yield task
        task.cancel()

    def test_wider_fixture(server):
        assert server.poll() is None

    async def test_task_of_a_fixture(background):
        assert not background.done()

    async def test_executor():
        await asyncio.to_thread(int)

    def test_thread():
        thread = threading.Thread(target=int)
        thread.start()

    def test_files(tmp_path):
        with (tmp_path / "x").open("w"):
            pass
"""

SKIPS = """
    import pytest

    def test_runs():
        pass

    @pytest.mark.skip(reason="no such machine")
    def test_allowed():
        pass

    @pytest.mark.parametrize("x", ["a", "b"])
    def test_cases(x):
        pytest.skip("no such case")

    @pytest.mark.xfail(reason="known")
    def test_xfail():
        raise ValueError
"""

COUNTING = """
    _looks, _look = [], _snapshot

    def _snapshot():
        _looks.append(None)
        return _look()

    @pytest.fixture
    def looks():
        return _looks
"""

INI = """
    [pytest]
    addopts = -p pytest_asyncio.plugin
    asyncio_mode = auto
    asyncio_default_fixture_loop_scope = function
    filterwarnings = error
"""

WORKERS = ("-p", "xdist.plugin", "-n", "2", "--dist", "loadfile")

WHOLE_MODULE = "import pytest\npytest.importorskip('nope_x')"


@pytest.fixture
def inner(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    # Leaks are waited for in vain here, and the other plugins take longer to import than the tests.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeconftest(IMPATIENT)
    pytester.makeini(INI)
    return pytester


def _sleepers() -> list[list[str]]:
    commands = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    return [command for command in commands if command and any(arg.endswith("3.25") for arg in command)]


def test_every_kind_of_leak_fails_its_test_and_is_cleaned_up(inner):
    inner.makepyfile(textwrap.dedent(LEAKY))
    result = inner.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=7, errors=6)
    result.stdout.fnmatch_lines_random(
        [
            "ERROR *.py::test_task*",
            "ERROR *.py::test_thread*",
            "ERROR *.py::test_file_descriptor*",
            "ERROR *.py::test_child*",
            "ERROR *.py::test_orphan*",
            "ERROR *.py::test_tree_that_ignores_sigterm*",
            "  task forgotten: *",
            "  thread forgotten",
            "  file descriptor *: socket:*",
            "  process *: sleep 61.25",
            "  process *: sleep 62.25",
        ]
    )
    assert not _sleepers()


def test_what_is_put_away_is_no_leak(inner):
    inner.makepyfile(textwrap.dedent(CLEAN))
    inner.runpytest_subprocess().assert_outcomes(passed=5)


@pytest.mark.parametrize("spread", [(), WORKERS], ids=["alone", "workers"])
def test_a_process_left_by_a_fixture_of_wider_scope_fails_the_session(inner, spread):
    inner.makepyfile(
        """
        import subprocess
        import pytest

        kept = []

        @pytest.fixture(scope="session")
        def server():
            kept.append(subprocess.Popen(["sleep", "63.25"]))

        def test_uses_it(server):
            pass
        """
    )
    result = inner.runpytest_subprocess(*spread)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["=* left by fixtures of wider scope =*", "process *: sleep 63.25"])
    assert not _sleepers()


def test_a_test_that_leaves_nothing_is_looked_at_twice_and_never_waited_for(inner):
    inner.makeconftest(IMPATIENT + textwrap.dedent(COUNTING))
    inner.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("n", range(20))
        def test_nothing(n):
            pass

        def test_looks_so_far(looks):
            assert len(looks) == 2 * 20 + 1
        """
    )
    inner.runpytest_subprocess("-q").assert_outcomes(passed=21)


@pytest.mark.parametrize("spread", [(), WORKERS], ids=["alone", "workers"])
def test_a_skip_off_the_list_fails(inner, monkeypatch, spread):
    inner.makepyfile(test_some=textwrap.dedent(SKIPS), test_whole=WHOLE_MODULE)
    allowed = inner.makefile(".txt", allowed="# why\ntest_some.py::test_allowed no such machine in CI\n")
    monkeypatch.setenv("GPUMOD_ALLOWED_SKIPS", str(allowed))
    result = inner.runpytest_subprocess(*spread)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=1, skipped=2, failed=2, xfailed=1)
    result.stdout.fnmatch_lines_random(
        [
            "*test_cases[[]a[]] was skipped and is not on the list *allowed.txt: Skipped: no such case",
            "*test_whole.py was skipped and is not on the list *allowed.txt: *nope_x*",
        ]
    )
    assert "test_allowed was skipped" not in result.stdout.str()


def test_listed_skips_pass(inner, monkeypatch):
    inner.makepyfile(test_some=textwrap.dedent(SKIPS), test_whole=WHOLE_MODULE)
    lines = (
        "test_some.py::test_allowed x y\ntest_some.py::test_cases[a] z\n*::test_cases* z\ntest_whole.py z\n"
    )
    monkeypatch.setenv("GPUMOD_ALLOWED_SKIPS", str(inner.makefile(".txt", allowed=lines)))
    assert inner.runpytest_subprocess().ret == pytest.ExitCode.OK


def test_a_listed_skip_needs_a_reason(inner, monkeypatch):
    monkeypatch.setenv(
        "GPUMOD_ALLOWED_SKIPS", str(inner.makefile(".txt", allowed="test_some.py::test_allowed\n"))
    )
    result = inner.runpytest_subprocess()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*allowed.txt:1: a skip needs a reason*"])
