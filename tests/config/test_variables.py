"""`${VAR}` in files."""

from gpumod.config.documents import parse_document
from gpumod.config.variables import Variables, expand, resolve_own


def expanded(text, own=None, **environment):
    document, problems = expand(parse_document(text, "f.yaml"), Variables(own or {}, environment))
    return document.value, problems


def test_own_variables_come_before_the_environment():
    value, problems = expanded("a: ${X}/${Y}", {"X": "own"}, X="env", Y="env")
    assert (value, problems) == ({"a": "own/env"}, [])


def test_values_at_any_depth_are_expanded_and_keys_are_not():
    value, _ = expanded("a: [{b: '${X}'}]\n${X}: 1", X="x")
    assert value == {"a": [{"b": "x"}], "${X}": 1}


def test_the_port_is_not_known_yet():
    assert expanded("a: --port=${PORT}", PORT="1")[0] == {"a": "--port=${PORT}"}


def test_two_dollars_are_the_characters_themselves():
    assert expanded("a: $${X} $X $5", X="x") == ({"a": "${X} $X $5"}, [])


def test_a_variable_without_a_value_is_a_problem_where_it_stands():
    _, problems = expanded("a: 1\nb: [x, '${MODEL}']", {"MODELS": "/m"})
    (problem,) = problems
    assert (problem.line, problem.key) == (2, "b.1")
    assert problem.detail == "${MODEL} has no value"
    assert problem.suggestion == "did you mean ${MODELS}?"


def test_an_unknown_variable_is_explained():
    (problem,) = expanded("a: ${NOPE}")[1]
    assert "set NOPE under `vars:`" in problem.suggestion
    (problem,) = expanded("a: ${no pe}")[1]
    assert "letters, digits and _" in problem.suggestion


def test_own_variables_may_use_those_above_and_the_environment():
    document = parse_document("vars:\n  BASE: ${HOME}/ai\n  MODELS: ${BASE}/models\n  HOME: ${HOME}/x\n", "c")
    variables, problems = resolve_own(document, {"HOME": "/h"})
    assert not problems
    assert dict(variables.own) == {"BASE": "/h/ai", "MODELS": "/h/ai/models", "HOME": "/h/x"}


def test_own_variables_may_not_use_those_below():
    variables, problems = resolve_own(parse_document("vars:\n  A: ${B}\n  B: x\n", "c"), {})
    assert [(one.line, one.key) for one in problems] == [(2, "vars.A")]
    assert variables.get("B") == "x"


def test_expansion_is_bounded():
    lines = ["vars:", "  A0: xxxxxxxxxxxxxxxx"]
    lines += [f"  A{n}: ${{A{n - 1}}}${{A{n - 1}}}" for n in range(1, 40)]
    _, problems = resolve_own(parse_document("\n".join(lines), "c"), {})
    assert any("longer than 64 KiB" in problem.detail for problem in problems)


def test_the_environment_is_not_shown():
    assert "hunter2" not in repr(Variables({}, {"PASSWORD": "hunter2"}))
