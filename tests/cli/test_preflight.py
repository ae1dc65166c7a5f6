"""`gpumodctl preflight`: every part of every service, whether it fits or not."""

from typing import Any

import pytest

from gpumod.cli.layout import lay_out, plain
from gpumod.cli.plan_view import plan_blocks
from gpumod.cli.preflight_view import preflight_blocks
from gpumod.core.footprint import Footprint, Part, Source
from gpumod.core.landmine import Landmine
from gpumod.core.names import CardId, ModeId, ServiceId
from gpumod.core.plan import Plan, Target
from gpumod.core.preflight import FittedContext, OracleAnswer, OracleDevice, ServicePreflight
from gpumod.core.units import GIB, MIB


def words(text):
    return " ".join(text.split())


def test_what_fits_is_shown_part_by_part_with_its_plan(ctl, box):
    shown = ctl("preflight", "embed")
    assert shown.code == 0
    text = words(shown.out)
    for part in (
        "embed would start now",
        "needs 2048 MiB of 22.0 GiB",
        "weights 512 MiB 256 MiB estimated 310 tensors",
        "CUDA context 512 MiB - learned",
        "process - 768 MiB estimated",
        "the formula 2048 MiB 1024 MiB estimated",
        "seen at most 1792 MiB - learned",
        "charged 2048 MiB 1024 MiB declared",
        "declared by `vram:`",
        "KV pool: 65536 tokens, 2.00 requests",
        "warning: the formula is 256 MiB above what was learned",
        "landmine: context is not set: set `context` [llama-no-context]",
        "STEPS",
    ):
        assert part in text
    assert "would fit" not in text
    assert "largest context that fits" not in text
    assert "second opinion" not in text


@pytest.mark.parametrize("command", [("preflight", "huge"), ("mode", "check", "huge")])
def test_what_does_not_fit_is_shown_part_by_part_and_refused(ctl, box, command):
    shown = ctl(*command)
    assert shown.code == 3
    assert "weights 38.5 GiB" in words(shown.out)
    assert "the least loss first" in shown.out
    assert "context: 8192 22.0 GiB 24576 tokens of context fewer (75%)" in words(shown.out)
    assert "huge needs 40.0 GiB" in shown.err
    assert box.box.begun == 0


def test_the_largest_context_is_shown_as_the_line_to_write(ctl, box):
    shown = ctl("preflight", "embed", "--fit-context")
    assert "the largest context that fits now: `context: 40960` (22.0 GiB; more does not fit)" in shown.out


def test_the_second_opinion_stands_beside_the_formula_with_its_limits(ctl, box):
    text = words(ctl("preflight", "embed", "--oracle").out)
    assert "second opinion of /usr/bin/llama-fit-params" in text
    assert "CUDA0 512 MiB 1024 MiB - 1536 MiB 1536 MiB 0 MiB (+0.0%)" in text
    assert "it knows no projector" in text


def test_programs_get_every_number(ctl, box):
    fits = ctl("preflight", "embed", "--fit-context", "--oracle", "--json").json
    assert fits["fits"] is True
    (service,) = fits["services"]
    assert service["footprint"]["parts"][0] == {
        "name": "weights", "cards": [512 * MIB], "source": "estimated", "host": 256 * MIB,
        "note": "310 tensors",
    }  # fmt: skip
    assert service["footprint"]["pool"]["largest_context"] == 65536
    assert service["fitted"] == {
        "context": 40960, "line": "context: 40960", "cards": [22 * GIB], "reason": "more does not fit",
    }  # fmt: skip
    assert service["oracle"]["devices"][0]["formula"] == 1536 * MIB
    refused = ctl("preflight", "huge", "--json").json
    assert refused["reasons"][0]["code"] == "does_not_fit"
    assert refused["services"][0]["advice"][0]["line"] == "context: 8192"


def service(**changes):
    footprint = Footprint(
        (10 * GIB, 9 * GIB),
        Source.ESTIMATED,
        loading=GIB,
        parts=(Part("weights", (10 * GIB, 9 * GIB), host=MIB),),
    )
    found: dict[str, Any] = {
        "service": ServiceId("a"),
        "cards": (CardId("GPU-00000000-0000-0000-0000-00000000000a"), CardId("GPU-b")),
        "available": (12 * GIB, 8 * GIB),
        "footprint": footprint,
    }
    return ServicePreflight(**(found | changes))


def shown(one, width=100):
    return plain(lay_out(preflight_blocks((one,)), width))


def test_cards_stand_side_by_side():
    text = words(shown(service()))
    assert "needs 10.0 GiB + 9216 MiB of 12.0 GiB + 8192 MiB" in text
    assert "weights 10.0 GiB 9216 MiB 1 MiB" in text
    assert "while loading - - 1024 MiB" in text


def test_a_fatal_landmine_is_told_from_a_warning():
    traps = (Landmine("x", "it crashes", "do not", fatal=True), Landmine("y", "it is slow", ""))
    text = shown(service(landmines=traps))
    assert "fatal: it crashes: do not [x]" in text
    assert "landmine: it is slow [y]" in text


def test_a_plan_does_not_repeat_what_was_said_of_its_services():
    plan = Plan(Target(ModeId("m"), ()), (), warnings=("a: it is slow", "a card is overcommitted"))
    text = plain(lay_out(plan_blocks(plan, {"a: it is slow"}), 100))
    assert "overcommitted" in text
    assert "slow" not in text


def test_what_is_not_known_is_said():
    text = shown(service(footprint=None, cards=(), available=()))
    assert "a on no card" in text
    assert "what it takes here is not known" in text


def test_no_context_and_no_oracle_are_said_with_the_reason():
    one = service(
        fitted=FittedContext(None, reason="not even 1024"), oracle=OracleAnswer(trouble="not there")
    )
    assert "no context fits now: not even 1024" in shown(one)
    assert "no second opinion: not there" in shown(one)


def test_a_difference_has_its_sign_and_its_share():
    devices = (OracleDevice("CUDA0", 900 * MIB, 100 * MIB, 0, 950 * MIB), OracleDevice("Host", 0, 0, 0, 0))
    text = words(shown(service(oracle=OracleAnswer("p", devices))))
    assert "950 MiB -50 MiB (-5.0%)" in text
