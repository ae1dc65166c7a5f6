"""Processes as /proc tells them: their names, and the memory they are charged."""

import os

import pytest

from gpumod.hardware.charges import Charges
from gpumod.hardware.procfs import ProcessNames, read_stat

KIB = 1024


class Proc:
    """A /proc written by hand."""

    def __init__(self, root) -> None:
        self.root = root

    def process(self, pid, *, state="S", threads=1, started=100, **files: str) -> None:
        folder = self.root / "proc" / str(pid)
        folder.mkdir(parents=True, exist_ok=True)
        middle = " ".join(["0"] * 16)
        (folder / "stat").write_text(f"{pid} (a (b) c) {state} {middle} {threads} 0 {started} 0\n")
        for old in ("smaps_rollup", "status"):
            (folder / old).unlink(missing_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text)


ROLLUP = "00400000-7ffd [rollup]\nRss: 900 kB\nPss: 800 kB\nPss_Anon: {} kB\nPss_File: 1 kB\n"


@pytest.fixture
def proc(tmp_path) -> Proc:
    return Proc(tmp_path)


def status(size: int) -> str:
    return f"State:\tS\nVmRSS:\t 900 kB\nRssAnon:\t {size} kB\n"


def test_a_process_is_charged_its_anonymous_pss(proc):
    proc.process(7, smaps_rollup=ROLLUP.format(300), status=status(500))
    assert Charges(str(proc.root)).measure([7]) == {7: 300 * KIB}


@pytest.mark.parametrize("files", [{}, {"smaps_rollup": "[rollup]\nRss: 900 kB\nPss: 800 kB\n"}])
def test_a_kernel_without_the_anonymous_part_gives_the_resident_anonymous_bytes(proc, files):
    proc.process(7, status=status(500), **files)
    assert Charges(str(proc.root)).measure([7]) == {7: 500 * KIB}


def test_a_process_that_is_torn_down_keeps_its_charge_until_it_has_gone(proc):
    charges = Charges(str(proc.root))
    proc.process(7, smaps_rollup=ROLLUP.format(300), status=status(500))
    charges.measure([7])
    proc.process(7, state="D", status="State:\tD\n")
    assert charges.measure([7]) == {7: 300 * KIB}
    proc.process(7, state="Z", threads=2, status="State:\tZ\n")
    assert charges.measure([7]) == {7: 300 * KIB}, "its other threads still hold the memory"
    proc.process(7, state="Z", status="State:\tZ\n")
    assert charges.measure([7]) == {}


def test_a_later_process_of_the_same_pid_is_another_one(proc):
    charges = Charges(str(proc.root))
    proc.process(7, smaps_rollup=ROLLUP.format(300), status=status(500))
    charges.measure([7])
    proc.process(7, started=200, status="State:\tD\n")
    assert charges.measure([7]) == {7: 0}


def test_between_two_measurements_the_charge_follows_the_resident_bytes(proc):
    # Each measurement of PSS asks for the time before and after; the last two are a second look.
    times = iter([0.0, 1.0, 50.0, 200.9, 201.1, 201.2])
    charges = Charges(str(proc.root), lambda: next(times))
    proc.process(7, smaps_rollup=ROLLUP.format(300), status=status(500))
    assert charges.measure([7]) == {7: 300 * KIB}, "it took a second: it is good for 200"
    proc.process(7, smaps_rollup=ROLLUP.format(1), status=status(700))
    assert charges.measure([7]) == {7: 500 * KIB}
    proc.process(7, smaps_rollup=ROLLUP.format(1), status=status(100))
    assert charges.measure([7]) == {7: 0}, "never less than nothing"
    assert charges.measure([7]) == {7: 1 * KIB}, "and then it is measured again"


def test_an_exact_measurement_is_made_now(proc):
    charges = Charges(str(proc.root))
    proc.process(7, smaps_rollup=ROLLUP.format(300), status=status(500))
    charges.measure([7])
    proc.process(7, smaps_rollup=ROLLUP.format(250), status=status(500))
    assert charges.measure([7], exact=True) == {7: 250 * KIB}


def test_this_kernel_tells_this_process_s_memory():
    assert Charges().measure([os.getpid()])[os.getpid()] > 1024 * KIB


# --- processes -----------------------------------------------------------------------------------


def test_a_stat_line_whose_name_is_meant_to_confuse(proc):
    proc.process(7, started=1234)
    stat = read_stat(str(proc.root), 7)
    assert stat is not None
    assert (stat.start_ticks, stat.alive) == (1234, True)
    assert read_stat(str(proc.root), 8) is None


def test_names_are_asked_anew_when_a_pid_is_used_again(proc):
    names = ProcessNames(str(proc.root))
    proc.process(7, cmdline="llama-server\0--port\0001\0")
    assert names.of([7, 8])[7].command == "llama-server --port 1"
    proc.process(7, cmdline="other\0")
    assert names.of([7])[7].command == "llama-server --port 1"
    proc.process(7, started=200, cmdline="other\0")
    assert names.of([7])[7].command == "other"
    proc.process(9, cmdline="", comm="kthread\n")
    assert names.of([9])[9].command == "kthread"
