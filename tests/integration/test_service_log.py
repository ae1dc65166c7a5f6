import asyncio
import os

import pytest

import gpumod.runners.log
from gpumod.runners.log import follow, last_attempt, mark, rotate, tail


@pytest.fixture
def log(tmp_path):
    return tmp_path / "chat.log"


def append(log, text: str):
    with log.open("a") as file:
        file.write(text)


async def take(lines, count: int) -> list[tuple[int, str]]:
    """The next lines of a follower."""
    async with asyncio.timeout(60):
        return [await anext(lines) for _ in range(count)]


# --- tail ----------------------------------------------------------------------------------------


def test_the_last_lines_oldest_first(log):
    append(log, "".join(f"line {number}\n" for number in range(50_000)))
    assert tail(str(log), 3) == ("line 49997", "line 49998", "line 49999")
    assert len(tail(str(log), 20_000)) == 20_000
    assert tail(str(log), 0) == ()


def test_a_line_without_an_end_is_shown_too(log):
    append(log, "one\ntw")
    assert tail(str(log), 5) == ("one", "tw")


def test_no_log_has_no_lines(log):
    assert tail(str(log), 5) == ()


def test_what_a_terminal_would_show_of_a_progress_bar(log):
    append(log, "load 1%\rload 50%\rload 100%\r\nready\n")
    assert tail(str(log), 5) == ("load 100%", "ready")


def test_bytes_that_are_no_text_are_shown_somehow(log):
    log.write_bytes(b"a\xffb\n")
    assert tail(str(log), 5) == ("a�b",)


def test_the_tail_goes_on_in_the_newest_copy(log):
    append(log, "old 1\nold 2\n")
    assert rotate(str(log), max_bytes=0)
    append(log, "new 1\n")
    assert tail(str(log), 2) == ("old 2", "new 1")
    assert tail(str(log), 9) == ("old 1", "old 2", "new 1")


# --- rotation ------------------------------------------------------------------------------------


def test_a_small_log_is_not_rotated(log):
    append(log, "x" * 100)
    assert not rotate(str(log), max_bytes=100)
    assert not rotate(str(log) + ".missing", max_bytes=0)
    assert os.listdir(log.parent) == ["chat.log"]


def test_a_bounded_number_of_copies_is_kept(log):
    for number in range(6):
        append(log, f"content {number}\n")
        assert rotate(str(log), max_bytes=0, keep=2)
    assert sorted(os.listdir(log.parent)) == ["chat.log", "chat.log.1", "chat.log.2"]
    assert [log.with_suffix(f".log.{number}").read_text() for number in (1, 2)] == [
        "content 5\n",
        "content 4\n",
    ]
    assert log.read_text() == ""


def test_without_copies_the_log_is_emptied(log):
    append(log, "content\n")
    assert rotate(str(log), max_bytes=0, keep=0)
    assert os.listdir(log.parent) == ["chat.log"]


def test_a_writer_goes_on_at_the_beginning_of_the_same_file(log):
    """Writers hold the log open for appending and are not told."""
    with log.open("a") as writer:
        writer.write("before\n")
        writer.flush()
        rotate(str(log), max_bytes=0)
        writer.write("after\n")
    assert log.read_text() == "after\n"


def test_a_copy_is_for_the_eyes_that_the_log_was_for(log):
    append(log, "secret\n")
    log.chmod(0o600)
    rotate(str(log), max_bytes=0)
    assert log.with_suffix(".log.1").stat().st_mode & 0o777 == 0o600


def test_a_copy_that_cannot_be_written_leaves_the_log_as_it_is(log):
    append(log, "content\n")
    log.with_suffix(".log.0.new").mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        rotate(str(log), max_bytes=0)
    assert log.read_text() == "content\n"


# --- following -----------------------------------------------------------------------------------


@pytest.fixture
def looked(monkeypatch):
    """Waits until the follower has looked into the log so often, from now on."""
    looks: list[None] = []
    read_on = gpumod.runners.log._read_on

    def counted(*arguments):
        found = read_on(*arguments)
        looks.append(None)
        return found

    async def wait(times=1):
        since = len(looks)
        async with asyncio.timeout(60):
            while len(looks) < since + times:  # noqa: ASYNC110 - it looks from a thread
                await asyncio.sleep(0.005)

    monkeypatch.setattr(gpumod.runners.log, "_read_on", counted)
    return wait


async def test_following_starts_at_the_end(log, looked):
    append(log, "old\n")
    lines = follow(str(log))
    first = asyncio.ensure_future(anext(lines))
    await looked()
    append(log, "new\n")
    assert await first == (8, "new")
    await lines.aclose()


async def test_following_resumes_behind_an_offset(log):
    append(log, "one\ntwo\nthree\n")
    lines = follow(str(log), 0)
    assert await take(lines, 3) == [(4, "one"), (8, "two"), (14, "three")]
    await lines.aclose()
    lines = follow(str(log), 8)
    assert await take(lines, 1) == [(14, "three")]
    await lines.aclose()


async def test_a_line_is_told_when_it_is_complete(log, looked):
    append(log, "hal")
    lines = follow(str(log), 0)
    first = asyncio.ensure_future(anext(lines))
    await looked()
    assert not first.done()
    append(log, "f\n")
    assert await first == (5, "half")
    await lines.aclose()


async def test_a_log_that_does_not_exist_yet_is_waited_for(log, looked):
    lines = follow(str(log))
    first = asyncio.ensure_future(anext(lines))
    await looked()
    append(log, "hello\n")
    assert await first == (6, "hello")
    await lines.aclose()


async def test_a_rotation_loses_and_repeats_nothing(log):
    append(log, "one\ntwo\n")
    lines = follow(str(log), 0)
    assert await take(lines, 1) == [(4, "one")]
    assert await take(lines, 1) == [(8, "two")]
    append(log, "three\nfour without an end")
    rotate(str(log), max_bytes=0)
    append(log, "five\n")
    assert await take(lines, 3) == [(14, "three"), (33, "four without an end"), (5, "five")]
    await lines.aclose()


async def test_a_follower_that_comes_back_after_a_rotation_reads_the_rest_of_the_copy(log):
    append(log, "one\ntwo\nthree\n")
    rotate(str(log), max_bytes=0)
    append(log, "four\n")
    lines = follow(str(log), 8)
    assert await take(lines, 2) == [(14, "three"), (5, "four")]
    await lines.aclose()


async def test_between_the_copy_and_the_truncation_nothing_is_told_twice(log, looked):
    append(log, "one\n")
    lines = follow(str(log), 0)
    assert await take(lines, 1) == [(4, "one")]
    log.with_suffix(".log.1").write_text("one\n")
    first = asyncio.ensure_future(anext(lines))
    await looked(2)
    assert not first.done()
    log.write_text("")
    append(log, "two\n")
    assert await first == (4, "two")
    await lines.aclose()


async def test_a_log_emptied_by_hand_is_followed_from_its_beginning(log, looked):
    append(log, "one\ntwo\n")
    lines = follow(str(log))
    first = asyncio.ensure_future(anext(lines))
    await looked()
    log.write_text("")
    append(log, "new\n")
    assert await first == (4, "new")
    await lines.aclose()


async def test_a_line_without_end_is_told_in_pieces(log):
    append(log, "x" * (3 << 20))
    lines = follow(str(log), 0)
    offset, text = (await take(lines, 1))[0]
    assert offset == len(text) == 1 << 20
    await lines.aclose()


async def test_a_follower_sees_every_line_once_across_rotations(log):
    lines = follow(str(log), 0)
    seen: list[int] = []

    async def read():
        async for _, line in lines:
            seen.append(int(line))
            if seen[-1] == 9999:
                return

    reading = asyncio.ensure_future(read())
    for number in range(10_000):
        append(log, f"{number}\n")
        if number % 2000 == 1999:
            while len(seen) < number - 1000:  # noqa: ASYNC110 - at most one rotation behind
                await asyncio.sleep(0.01)
            rotate(str(log), max_bytes=0)
    async with asyncio.timeout(60):
        await reading
    assert seen == list(range(10_000))
    await lines.aclose()


def test_the_last_attempt_does_not_begin_before_its_mark(tmp_path):
    path = str(tmp_path / "chat.log")
    for words, line in (
        ("chat, generation 1", "CUDA error: out of memory"),
        ("chat, generation 2", "bad flag"),
    ):
        mark(path, words)
        with open(path, "a") as out:
            out.write(line + "\n")
    assert last_attempt(path, 50) == ("bad flag",)
    assert "=== gpumod: chat, generation 1" in tail(path, 50)
    mark(str(tmp_path / "no/such/folder.log"), "is no error")
