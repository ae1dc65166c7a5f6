"""What people see: tables that fit, numbers that are there, names that can be told apart."""

import pytest

from gpumod.cli.layout import Bar, Cell, Column, Row, Table, Text, lay_out, plain
from gpumod.cli.outcome import reason_lines, short_cards
from gpumod.cli.plan_view import plan_blocks
from gpumod.cli.status_view import status_blocks
from gpumod.client.calls import encode
from gpumod.core.names import ModeId
from gpumod.core.plan import Holder, Plan, Refusal, RefusalCode, Target
from tests.cli.samples import CARD_0, busy_box_json


def shown(width, *, unicode=True):
    return plain(lay_out(status_blocks(busy_box_json()), width, unicode=unicode))


@pytest.mark.parametrize("width", [80, 100, 140, 200])
def test_no_line_is_wider_than_the_terminal(width):
    assert max(map(len, shown(width).splitlines())) <= width


@pytest.mark.parametrize("width", [None, 80, 140])
def test_status_tells_everything(width):
    text = " ".join(shown(width).split())
    for part in (
        "switching switch to code, step 2 of 3",
        "mode chat",
        "570.86.15",
        "48.0 GiB of 64.0 GiB available, limited by memory.host in config.yaml",
        "24.0 GiB 15.0 GiB 220 MiB 512 MiB 8192 MiB",
        "foreign: Xorg 1234 of root 220 MiB",
        "foreign: python 9876 of bob",
        "unknown: the driver has not answered for 4.0 s",
        "overcommitted",
        "out of memory on GPU-66666666: needed 2048 MiB, 900 MiB were free",
        "gemma4-26b-a4b-qat-q4 ready 0 18000 15.0 GiB 14.7 GiB 2 h 5 min",
        "big-vllm draining 0,1 18003 6144 MiB",
        "s-42 chat -> code running, 5.0 s",
        "running 4.6 s prove that memory is free on GPU-11111111..5555",
        "l-7 ci-bot 6 min 40 s embed-2",
        "adopted gemma4-26b-a4b-qat-q4, pid 4242",
    ):
        assert part in text


def test_nothing_is_cut_in_a_pipe():
    assert "qwen36-35b-a3b-mtp-iq4xs-preserve" in shown(None)
    assert "…" not in shown(None)


def test_without_unicode_all_is_ascii():
    assert shown(None, unicode=False).isascii()
    assert shown(80, unicode=False).isascii()


def test_a_driver_that_is_not_well_is_told():
    status = busy_box_json()
    status["reading"] |= {"driver": "version_mismatch", "reason": "library 570, module 560", "cards": []}
    text = plain(lay_out(status_blocks(status), None))
    assert "driver    version mismatch: library 570, module 560" in text
    assert "none: library 570, module 560" in text


@pytest.mark.parametrize("width", [8, 20, 48])
def test_a_bar_is_as_wide_as_it_is_told_and_shows_every_share(width):
    bar = Bar(((0.5, "█", "#", ""), (0.001, "▒", "x", ""), (0.02, "░", "-", "")))
    drawn = "".join(text for text, _ in bar.draw(width, unicode=False))
    assert len(drawn) == width
    assert "x" in drawn
    assert "-" in drawn


def test_a_bar_of_more_than_the_whole_is_full():
    bar = Bar(((0.9, "█", "#", ""), (0.4, "▒", "x", "")))
    assert "".join(text for text, _ in bar.draw(10, unicode=False)) == "#########x"


def test_long_text_is_wrapped_between_words():
    lines = plain(lay_out([Text((Cell("one two three four"),), lead=2, indent=4)], 12)).splitlines()
    assert lines == ["  one two", "    three", "    four"]


def test_a_column_that_may_shrink_gives_way():
    table = Table(
        (Column("name", shrinks=True), Column("n", right=True)), (Row((Cell("x" * 40), Cell("12345"))),)
    )
    (_, row) = plain(lay_out([table], 30)).splitlines()
    assert row == "x" * 22 + "…  12345"


def test_cards_are_shortened_to_what_tells_them_apart():
    assert short_cards(f"free on {CARD_0}") == "free on GPU-11111111..5555"


def test_every_reason_has_its_numbers():
    refusal = Refusal(
        RefusalCode.DOES_NOT_FIT,
        "code needs 18.0 GiB",
        card=CARD_0,
        need=18 * 2**30,
        have=2**30,
        holders=(Holder(2**30, pid=12, command="/usr/bin/python train.py", user="bob"), Holder(None, pid=13)),
        would_fit="a context of 32768",
    )
    port = Refusal(RefusalCode.PORT_TAKEN, "port 18000 is taken by nginx 77")
    assert reason_lines(encode([refusal, port])) == [
        "- code needs 18.0 GiB",
        (
            "    card GPU-11111111..5555, need 18.0 GiB, have 1024 MiB, "
            "held by python 12 of bob (1024 MiB), process 13 (an unknown amount)"
        ),
        "    would fit: a context of 32768",
        "- port 18000 is taken by nginx 77",
    ]


def test_an_empty_plan_says_so():
    text = plain(lay_out(plan_blocks(Plan(Target(ModeId("chat"), ()), ())), None))
    assert text == "nothing to do: the box is already there\n"


def test_others_words_cannot_command_a_terminal():
    status = busy_box_json()
    status["reading"]["cards"][0]["processes"][0]["command"] = "evil\x1b]0;title\x07\x9b31m"
    status["notes"] = ["line\r\x1b[2J"]
    text = plain(lay_out(status_blocks(status), None))
    assert "evil?]0;title??31m" in text
    assert not set(text) & {"\x1b", "\x07", "\x9b", "\r"}
