import os
import signal
import subprocess
import sys
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

import gpumod
from gpumod.runners.keeper import Order
from gpumod.runners.procfs import ProcStat, descendants, kill_all, read_stat

word = st.binary(max_size=20).filter(lambda text: b"\0" not in text)
name = word.filter(lambda text: text and b"=" not in text)


@given(
    program=word,
    argv=st.lists(word, max_size=4),
    env=st.dictionaries(name, word, max_size=4),
    user=st.lists(st.integers(0, 2**32 - 1), max_size=4),
)
def test_an_order_arrives_as_it_was_given(program, argv, env, user):
    order = Order(program, argv, env, log=b"/log", cwd=b"/", user=user)
    assert vars(Order.unpack(order.pack())) == vars(order)


def test_a_keeper_loads_little():
    """Every module costs each start of a service its time, and each keeper its memory."""
    code = "import sys; sys.path[:0] = sys.argv[1:]; import gpumod.runners.keeper; print(*sys.modules)"
    argv = [sys.executable, "-I", "-S", "-c", code, os.path.dirname(os.path.dirname(gpumod.__file__))]
    loaded = set(subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout.split())
    assert {"gpumod.runners.keeper", "ctypes", "signal"} <= loaded
    assert not loaded & {
        "asyncio",
        "dataclasses",
        "dbus_fast",
        "inspect",
        "json",
        "re",
        "subprocess",
        "typing",
    }


def test_a_command_name_with_brackets_and_blanks_hides_nothing():
    text = b"42 (a) Z 1 (b)) S 7 42 41 0 -1 0 0 0 0 0 0 0 0 0 20 0 3 0 123456 0 0"
    stat = ProcStat(42, text)
    assert (stat.parent, stat.session, stat.start_ticks, stat.dead) == (7, 41, 123456, False)


def test_a_zombie_is_dead_unless_other_threads_live_on():
    text = b"42 (x) Z 7 42 41 0 -1 0 0 0 0 0 0 0 0 0 20 0 %d 0 123456 0 0"
    assert ProcStat(42, text % 1).dead
    assert not ProcStat(42, text % 3).dead


def test_this_process_is_seen_below_its_parent():
    stat = read_stat(os.getpid())
    assert stat is not None
    assert stat.parent == os.getppid()
    assert os.getpid() in descendants(os.getppid())
    assert read_stat(2**22 + 1) is None


def test_nothing_to_kill_is_done_at_once():
    assert kill_all(list, 0.0)


def test_what_cannot_be_killed_is_told_within_the_bound():
    assert not kill_all(lambda: [2**22 + 1], 0.01)


def test_one_empty_list_does_not_end_the_killing():
    """A process that hands over to its child while the list is read is missing from that list."""
    child = subprocess.Popen(["/bin/sleep", "600"])
    lists = iter([[], [], [child.pid]])
    try:
        assert kill_all(lambda: next(lists, [] if child.poll() is not None else [child.pid]), 10.0)
        assert child.poll() == -signal.SIGKILL
    finally:
        child.kill()
        child.wait()


def test_killing_ends_where_it_is_certain_that_nothing_is_left():
    child = subprocess.Popen(["/bin/sleep", "600"])
    lists: Iterator[list[int]] = iter([[]] * 20)
    try:
        assert kill_all(lambda: next(lists, [child.pid]), 10.0, gone=lambda: child.poll() is not None)
        assert child.poll() == -signal.SIGKILL
    finally:
        child.kill()
        child.wait()
