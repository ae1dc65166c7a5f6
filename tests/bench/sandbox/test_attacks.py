"""Programs that want out, or everything. Each test fails when its wall is taken down."""

import asyncio
import os
import signal
import socket
from pathlib import Path

import pytest

from gpumod.bench.sandbox import Ended, Limits, SandboxFailedError
from tests.bench.sandbox.conftest import MiB, running


async def test_a_program_runs_with_its_files(attack, sandbox):
    program = "import helper, sys\nprint(helper.word)\nprint('e', file=sys.stderr)\nsys.exit(3)"
    files = {
        "attack.py": "import sys; sys.path.insert(0, '.')\n" + program,
        "helper.py": "word = 'grüße \\u2028'",
    }
    execution = await sandbox.run((*sandbox.python, "attack.py"), files)
    assert execution.output == "grüße \u2028\n"
    assert execution.errors == "e\n"
    assert (execution.ended, execution.status) == (Ended.EXITED, 3)


async def once_begun(attack, code, wall, **limits):
    """An attack that says `here` and never ends; a slow machine gets more time until it has said so."""
    execution = await attack(code, wall=wall, **limits)
    for times in (5, 25, 100):
        if execution.output:
            break
        execution = await attack(code, wall=wall * times, **limits)
    assert execution.output.startswith("here\n")
    return execution


async def test_a_fork_bomb_is_limited_and_leaves_nothing(attack, marker):
    code = f"""
import os, sys, time
word = "{marker}"
count = 0
try:
    while True:
        if os.fork() == 0:
            time.sleep(60)
        count += 1
except BlockingIOError:
    print(count)
"""
    execution = await attack(code, processes=40)
    assert 20 < int(execution.output) < 40


async def test_a_fork_bomb_that_never_stops_ends_with_its_time(attack, marker):
    code = f"""
import os
word = "{marker}"
print("here", flush=True)
while True:
    try:
        os.fork()
    except OSError:
        pass
"""
    execution = await once_begun(attack, code, wall=2.0, processes=60)
    assert execution.ended in {Ended.TIMED_OUT, Ended.OUT_OF_MEMORY}


async def test_threads_count_as_processes(attack):
    code = """
import threading, time
count = 0
try:
    while True:
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        count += 1
except RuntimeError:
    print(count, flush=True)
import os; os._exit(0)
"""
    execution = await attack(code, processes=30)
    assert 10 < int(execution.output) < 30


async def test_there_is_no_network(attack):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = f"""
import socket
for address in (("127.0.0.1", {port}), ("1.1.1.1", 53), ("169.254.169.254", 80), ("::1", {port})):
    try:
        socket.create_connection(address, timeout=2)
        print("reached", address)
    except OSError as error:
        print(type(error).__name__)
try:
    socket.getaddrinfo("example.org", 80)
    print("resolved")
except OSError:
    pass
"""
        execution = await attack(code)
    assert execution.status == 0, execution.errors
    assert "reached" not in execution.output
    assert "resolved" not in execution.output


async def test_sockets_of_the_host_are_out_of_reach(attack, tmp_path):
    """By path, by an abstract name, which only a network namespace contains, and to a hypervisor."""
    abstract = f"gpumod-{os.urandom(4).hex()}"
    with socket.socket(socket.AF_UNIX) as by_path, socket.socket(socket.AF_UNIX) as by_name:
        os.chmod(tmp_path, 0o755)
        by_path.bind(str(tmp_path / "daemon.sock"))
        os.chmod(tmp_path / "daemon.sock", 0o777)
        by_path.listen()
        by_name.bind(f"\0{abstract}")
        by_name.listen()
        code = f"""
import socket
for address in ({str(tmp_path / "daemon.sock")!r}, "\\0{abstract}"):
    try:
        socket.socket(socket.AF_UNIX).connect(address)
        print("reached")
    except OSError:
        print("refused")
for family in (40, 38, 17):
    try:
        socket.socket(family, socket.SOCK_STREAM)
        print("opened", family)
    except OSError as error:
        print(error.errno)
"""
        execution = await attack(code)
    assert execution.output.split() == ["refused", "refused", "1", "1", "1"]


async def test_files_of_the_host_cannot_be_read(attack, tmp_path):
    secret = tmp_path / "key"
    secret.write_text("sesame")
    os.chmod(secret, 0o644)
    names = [
        "/etc/shadow",
        "/etc/passwd",
        "/root",
        "/home",
        "/var",
        "/run",
        "/sys",
        str(Path.home()),
        str(secret),
    ]
    names += [
        str(Path(__file__)),
        *(f"/proc/1/{name}" for name in ("environ", "root/etc", "fd/0")),
        "/proc/kcore",
        "/dev/sda",
    ]
    code = f"""
import os
for name in {names!r}:
    os.symlink(name, "link") if not os.path.lexists("link") else None
    for path in (name, "link", "../" * 8 + name.lstrip("/")):
        try:
            found = os.listdir(path) if os.path.isdir(path) else open(path, "rb").read(10)
            print("read", path, found)
        except OSError:
            pass
    os.unlink("link")
print(os.listdir("/etc"), sorted(os.listdir("/")))
"""
    execution = await attack(code)
    lines = execution.output.splitlines()
    assert [line for line in lines[:-1] if line.startswith("read")] == []
    assert "shadow" not in lines[-1]
    assert not {"root", "home", "var", "run", "sys", "opt"} & set(lines[-1].split("'")), lines[-1]


async def test_nothing_can_be_written_but_in_the_bounded_directories(attack):
    """Every directory is tried, so also those that bubblewrap itself makes."""
    code = """
import os
for directory, names, _ in os.walk("/"):
    names[:] = [name for name in names if directory != "/" or name not in {"usr", "proc"}]
    try:
        open(os.path.join(directory, "x"), "w").close()
        print(directory)
    except OSError:
        pass
for path in ("/usr/x", "/usr/bin/x", "/proc/x", "/proc/sys/kernel/core_pattern",
             "/proc/sys/user/max_user_namespaces", "/proc/sysrq-trigger", "/etc/ld.so.cache"):
    try:
        open(path, "w").close()
        print(path)
    except OSError:
        pass
"""
    execution = await attack(code)
    assert sorted(execution.output.split()) == ["/dev/shm", "/tmp", "/work"]


async def test_big_files_end_at_the_limit(attack):
    code = """
import os
total = 0
for directory in ("/work", "/tmp", "/dev/shm"):
    for number in range(100):
        try:
            with open(f"{directory}/{number}", "wb", buffering=0) as file:
                while True:
                    total += file.write(bytes(1 << 20))
        except OSError:
            pass
print(total)
"""
    execution = await attack(
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n" + code, disk=8 * MiB
    )
    assert 20 * MiB < int(execution.output) <= 24 * MiB


async def test_countless_small_files_end_at_the_limit(attack):
    code = """
count = 0
try:
    while True:
        open(f"/tmp/{count}", "w").close()
        count += 1
except OSError:
    print(count)
"""
    execution = await attack(code, entries=200)
    assert 100 < int(execution.output) < 200


async def test_a_single_large_allocation_fails(attack):
    execution = await attack("x = bytearray(3 << 30); print(len(x))")
    assert "MemoryError" in execution.errors
    assert execution.output == ""


async def test_many_processes_together_cannot_take_more_than_one_may(attack, marker):
    code = f"""
import os, time
word = "{marker}"
for _ in range(6):
    if os.fork() == 0:
        block = bytearray(60 << 20)
        for place in range(0, len(block), 4096):
            block[place] = 1
        time.sleep(60)
time.sleep(60)
"""
    execution = await attack(code, memory=200 * MiB)
    assert execution.ended is Ended.OUT_OF_MEMORY
    assert execution.status is None
    assert execution.memory > 200 * MiB


@pytest.mark.parametrize("call", ["shmget(0, 1 << 20, 0o1600)", "memfd_create(b'x', 0)", "msgget(0, 0o1600)"])
async def test_memory_that_no_limit_counts_is_refused(attack, call):
    code = f"""
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
print(libc.{call}, ctypes.get_errno())
"""
    assert (await attack(code)).output == "-1 1\n"


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
async def test_endless_output_is_cut_and_ends_the_program(attack, stream, marker):
    code = f"import sys\nword = '{marker}'\nwhile True: sys.{stream}.write('x' * 1000)"
    execution = await attack(code, output=100_000)
    assert execution.ended is Ended.TOO_MUCH_OUTPUT
    assert len(execution.output + execution.errors) == 100_000


async def test_an_orphan_in_a_session_of_its_own_dies_with_the_program(attack):
    """It ignores what can be ignored, and holds the output open."""
    word = f"orphan-{os.urandom(6).hex()}"
    code = f"""
import os, signal, subprocess, sys
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in range(1, 65):
            try:
                signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError):
                pass
        os.execv("/bin/sleep", ["{word}", "600"])
    os._exit(0)
os.wait()
print("left")
"""
    execution = await attack(code)
    assert execution.output == "left\n"
    assert execution.ended is Ended.EXITED
    assert running(word) == []


async def test_signals_reach_nobody_outside_and_not_the_watcher(attack):
    code = f"""
import os, signal
for pid in (1, {os.getpid()}, {os.getppid()}):
    for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        try:
            os.kill(pid, number)
        except OSError:
            pass
print(sorted(int(name) for name in os.listdir("/proc") if name.isdigit()), flush=True)
try:
    os.kill(-1, signal.SIGKILL)
except ProcessLookupError:
    print("nobody")
"""
    execution = await attack(code)
    told, nobody = execution.output.splitlines()
    pids = eval(told)
    assert pids[0] == 1
    assert len(pids) == 2  # the watcher and the program: nobody else's processes are seen
    assert nobody == "nobody"
    assert (execution.ended, execution.status) == (Ended.EXITED, 0)


async def test_the_environment_tells_nothing(attack, monkeypatch):
    monkeypatch.setenv("GPUMOD_KEY", "sesame")
    code = """
import os, glob
print(dict(os.environ))
for name in glob.glob("/proc/*/environ"):
    try:
        print(open(name).read())
    except OSError:
        print("denied")
"""
    execution = await attack(code)
    assert "sesame" not in execution.output
    assert "GPUMOD" not in execution.output
    assert "denied" in execution.output  # the watcher's


async def test_the_watcher_cannot_be_looked_into_or_traced(attack):
    code = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
print(libc.ptrace(16, 1, 0, 0), ctypes.get_errno())
for name in ("mem", "fd/0", "maps", "root", "cwd"):
    try:
        os.listdir("/proc/1/" + name) if name in {"root", "cwd"} else open("/proc/1/" + name, "rb").read(1)
        print("read", name)
    except OSError:
        pass
try:
    print("forged", os.listdir("/proc/1/fd"))
except OSError:
    pass
"""
    assert (await attack(code)).output == "-1 1\n"


async def test_privileges_cannot_be_had_back(attack):
    code = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
print(os.getuid(), os.geteuid())
status = open("/proc/self/status").read()
print([line.split()[1] for line in status.splitlines() if line.startswith("Cap")])
for flag in (0x10000000, 0x20000, 0x40000000):
    print(libc.unshare(flag))
print(libc.mount(b"tmpfs", b"/tmp", b"tmpfs", 0, None), libc.chroot(b"/tmp"))
# The same by clone, which the filter lets pass: CLONE_NEWUSER and SIGCHLD.
libc.syscall.restype = ctypes.c_long
pid = libc.syscall({"x86_64": 56, "aarch64": 220}[os.uname().machine], 0x10000000 | 17, 0, 0, 0, 0)
if pid == 0:
    os._exit(0)
print(pid)
try:
    os.setuid(0)
except OSError:
    print("no")
"""
    execution = await attack(code)
    lines = execution.output.splitlines()
    assert lines[0] == "1000 1000", execution
    assert set(eval(lines[1])) == {"0000000000000000"}
    assert lines[2:] == ["-1", "-1", "-1", "-1 -1", "-1", "no"]


async def test_limits_cannot_be_raised(attack):
    code = """
import resource
for name in ("RLIMIT_AS", "RLIMIT_NPROC", "RLIMIT_FSIZE", "RLIMIT_NOFILE", "RLIMIT_CPU", "RLIMIT_CORE"):
    kind = getattr(resource, name)
    now = resource.getrlimit(kind)
    assert resource.RLIM_INFINITY not in now, name
    try:
        resource.setrlimit(kind, (now[0], now[1] + 1))
        print("raised", name)
    except (OSError, ValueError):
        pass
"""
    execution = await attack(code)
    assert (execution.status, execution.output) == (0, ""), execution


async def test_files_opened_at_once_are_limited(attack):
    code = "kept = []\ntry:\n  while True: kept.append(open('/dev/null'))\nexcept OSError: print(len(kept))"
    assert int((await attack(code, files=50)).output) < 50


async def test_processor_time_is_limited(attack):
    execution = await attack("while True: pass", cpu=1, wall=300)
    assert (execution.ended, execution.status) == (Ended.SIGNALLED, signal.SIGKILL)


async def test_sleeping_for_ever_ends_with_the_time(attack):
    code = "print('here', flush=True)\nimport time; time.sleep(600)"
    execution = await once_begun(attack, code, wall=1.0)
    assert execution.ended is Ended.TIMED_OUT
    assert execution.status is None
    assert execution.output == "here\n"


async def test_a_cancelled_execution_leaves_nothing(attack):
    word = f"cancelled-{os.urandom(6).hex()}"
    code = f"import os; os.execv('/bin/sleep', ['{word}', '600'])"
    task = asyncio.create_task(attack(code))
    async with asyncio.timeout(60):
        while not running(word):  # noqa: ASYNC110 - a process in another namespace gives no event
            await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert running(word) == []


@pytest.mark.parametrize("turns", range(0, 60, 6))
async def test_cancelled_at_any_moment_it_leaves_nothing(sandbox, turns):
    """The leak checks after every test see processes and descriptors."""
    task = asyncio.create_task(sandbox.run(("/bin/sleep", "600")))
    await asyncio.sleep(turns / 1000)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_program_that_is_not_there_says_so(sandbox):
    execution = await sandbox.run(("/usr/bin/nothing",))
    assert execution.status == 127
    assert "No such file" in execution.errors


async def test_a_broken_sandbox_is_an_error_of_its_own(sandbox):
    with pytest.raises(SandboxFailedError, match="No space left"):
        await sandbox.run(("/bin/true",), {"big": "x" * 100_000}, Limits(disk=4096))
    with pytest.raises(ValueError, match="below the working directory"):
        await sandbox.run(("/bin/true",), {"../x": ""})
