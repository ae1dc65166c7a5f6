import itertools
import re
from pathlib import Path

import pytest

from gpumod.bench.suites.quality.conversation import replay
from gpumod.bench.suites.quality.loading import SHIPPED, load_packs, read_pack, shipped_packs
from gpumod.bench.suites.quality.matching import SPECIAL
from gpumod.bench.suites.quality.pack_file import CheckFile
from gpumod.core.errors import ConfigError

SOUND = """\
pack: mine
title: My own
tools:
  look: {description: Look at a thing, parameters: {thing: {type: string}}}
scenarios:
  - id: one
    level: easy
    prompt: Say five.
    tools: [look]
    checks: [{number: {value: 5}}]
    right: "5"
    wrong: ["6"]
"""


def scenarios():
    return [one for pack in shipped_packs() for one in pack.scenarios]


@pytest.mark.parametrize("scenario", scenarios(), ids=lambda one: one.key)
def test_the_right_answer_passes_and_every_wrong_one_fails(scenario):
    assert scenario.complaints(replay(scenario, scenario.right)) == ()
    assert scenario.wrong
    for wrong in scenario.wrong:
        assert scenario.complaints(replay(scenario, wrong))


@pytest.mark.parametrize("scenario", scenarios(), ids=lambda one: one.key)
def test_saying_nothing_and_repeating_the_question_are_wrong(scenario):
    for text in ("", scenario.prompts[-1], "I do not know."):
        turns = replay(scenario, scenario.right[:-1])
        said = type(turns)(text, turns.calls, turns.turns + 1, turns.world, turns.start)
        if scenario.world is None and not scenario.right[-1].calls:
            assert scenario.complaints(said)


@pytest.mark.parametrize("scenario", scenarios(), ids=lambda one: one.key)
def test_every_check_of_a_scenario_can_be_met_only_by_doing_something(scenario):
    nothing = replay(scenario, ())
    assert scenario.complaints(nothing)


def test_each_level_is_in_every_pack():
    for pack in shipped_packs():
        levels = [one.level for one in pack.scenarios]
        assert {"easy", "medium", "hard"} == set(levels), pack.name
        assert len({one.prompts for one in pack.scenarios}) == len(levels)


def test_a_replay_does_not_change_the_scenario():
    for scenario in scenarios():
        if scenario.world is not None:
            before = repr(scenario.world)
            replay(scenario, scenario.right)
            assert repr(scenario.world) == before


def problems_of(tmp_path, text, name="mine.yaml"):
    path = tmp_path / name
    path.write_text(text)
    pack, problems = read_pack(path)
    assert (pack is None) == bool(problems)
    return [(one.line, one.key, one.detail, one.suggestion) for one in problems]


def test_a_sound_pack_has_no_problems(tmp_path):
    assert problems_of(tmp_path, SOUND) == []


@pytest.mark.parametrize(
    ("was", "now", "line", "key", "said"),
    [
        ("level: easy", "level: simple", 7, "scenarios.0.level", "must be one of easy, medium, hard"),
        ("prompt: Say", "prompts: Say", 8, "scenarios.0.prompts", "unknown key 'prompts'"),
        ("number: {value: 5}", "numbr: {value: 5}", 10, "scenarios.0.checks.0.numbr", "unknown key"),
        ("{value: 5}", "{value: five}", 10, "scenarios.0.checks.0.number.value", "must be a number"),
        ("{number: {value: 5}}", "{}", 10, "scenarios.0.checks.0", "names no checker"),
        ("[{number: {value: 5}}]", "[]", 10, "scenarios.0.checks", "at least 1"),
        ('right: "5"', 'right: "7"', 11, "scenarios.0.right", "does not pass: it is 7, not 5"),
        ('wrong: ["6"]', 'wrong: ["5.0"]', 12, "scenarios.0.wrong.0", "this wrong answer passes"),
        ('right: "5"', "right: [{look: 5}]", 11, "scenarios.0.right", "must be a text or a tool call"),
        ('right: "5"', "right: 5", 11, "scenarios.0.right", "must be a text or a tool call"),
        ("tools: [look]", "tools: [lock]", 9, "scenarios.0.tools.0", "the pack has no tool 'lock'"),
        ("pack: mine", "pack: other", 1, "pack", "must be the file's name, 'mine'"),
        ("pack: mine", "pack: Mine!", 1, "pack", "is not an id"),
        ("{number: {value: 5}}", "{state: {}}", 10, "scenarios.0.checks.0.state", "needs a world"),
        (
            "{number: {value: 5}}",
            "{regex: {present: ['(']}}",
            10,
            "scenarios.0.checks.0.regex.present.0",
            "is no pattern",
        ),
        (
            "{number: {value: 5}}",
            "{data: {equals: {a: {$anny: [1]}}}}",
            10,
            "scenarios.0.checks.0.data.equals.a.$anny",
            "is none of",
        ),
        (
            "{number: {value: 5}}",
            "{calls: {are: [{look: {thing: {$near: 3}}}]}}",
            10,
            "scenarios.0.checks.0.calls.are.0.look.thing.$near",
            "takes a number and a reach",
        ),
        (
            "{number: {value: 5}}",
            '{command: {accept: ["ls \'a"]}}',
            10,
            "scenarios.0.checks.0.command.accept.0",
            "is no command line",
        ),
        ("title: My own", "title: [", 4, "", "is not valid YAML"),
    ],
)
def test_what_is_wrong_is_said_with_line_and_key(tmp_path, was, now, line, key, said):
    assert was in SOUND
    found = problems_of(tmp_path, SOUND.replace(was, now))
    assert any((at, where) == (line, key) and said in detail for at, where, detail, _ in found), found


def test_everything_that_is_wrong_is_said_at_once(tmp_path):
    text = SOUND.replace("level: easy", "level: simple").replace("{value: 5}", "{value: five}")
    assert [line for line, *_ in problems_of(tmp_path, text)] == [7, 10]


def test_a_misspelt_key_gets_a_suggestion(tmp_path):
    ((*_, suggestion), *_) = problems_of(tmp_path, SOUND.replace("number:", "numbr:"))
    assert suggestion == "did you mean 'number'?"


def test_two_scenarios_of_one_id_are_refused(tmp_path):
    again = SOUND[SOUND.index("  - id: one") :]
    assert [one[:2] for one in problems_of(tmp_path, SOUND + again)] == [(10 + 3, "scenarios.1.id")]


def test_a_world_whose_events_overlap_is_refused(tmp_path):
    event = "{title: a, date: '2025-01-01', start: '10:00', end: '11:00'}"
    world = f"    world: {{events: [{event}, {event}], faults: {{serch: 1}}}}\n    checks"
    found = problems_of(tmp_path, SOUND.replace("    checks", world))
    assert [one[1] for one in found] == ["scenarios.0.world.events.1", "scenarios.0.world.faults.serch"]
    assert "overlaps e1" in found[0][2]
    assert found[1][3] == "did you mean 'search'?"


def test_a_folder_answers_with_the_problems_of_all_files(tmp_path):
    (tmp_path / "a.yaml").write_text("pack: b")
    (tmp_path / "c.yaml").write_text("- 1")
    (tmp_path / "notes.txt").write_text("no pack")
    with pytest.raises(ConfigError) as error:
        load_packs(tmp_path)
    assert set(re.findall(r"(\w+\.yaml):", str(error.value))) == {"a.yaml", "c.yaml"}
    assert load_packs(tmp_path / "missing") == ()


def test_no_two_scenarios_ask_the_same():
    for one, other in itertools.combinations(scenarios(), 2):
        assert (one.system, one.prompts) != (other.system, other.prompts)


def test_the_files_are_where_they_are_looked_for():
    assert len(list(SHIPPED.glob("*.yaml"))) == len(shipped_packs())


def test_there_are_150_scenarios_in_eight_packs_whose_names_say_how_many():
    assert {pack.name: len(pack.scenarios) for pack in shipped_packs()} == {
        "bugfind-15": 15,
        "cli-40": 40,
        "dataextract-15": 15,
        "hermesagent-20": 20,
        "instructfollow-15": 15,
        "reasonmath-15": 15,
        "structoutput-15": 15,
        "toolcall-15": 15,
    }


def test_the_documented_pack_is_sound_and_every_check_is_documented(tmp_path):
    page = (Path(__file__).resolve().parents[3] / "docs/quality-packs.md").read_text()
    assert problems_of(tmp_path, page.split("```yaml\n")[1].split("```")[0]) == []
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == list(CheckFile.model_fields)
    assert set(re.findall(r"\{(\$\w+):", page)) == SPECIAL
