import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gpumod.bench.suites.quality.answer import Answer, Call, labelled, unfenced, without_thinking
from gpumod.bench.suites.quality.checkers.code import Command, Python
from gpumod.bench.suites.quality.checkers.data import Data
from gpumod.bench.suites.quality.checkers.form import Count, Form, Repeated, counted
from gpumod.bench.suites.quality.checkers.text import Contains, Number, Regex, Text, number_in
from gpumod.bench.suites.quality.checkers.tools import Called, Calls
from gpumod.bench.suites.quality.matching import difference
from gpumod.bench.suites.quality.pack_file import CheckFile, PackFile

CHECKS = [
    (Text(equals=["Paris"]), ["paris", " **Paris.** ", "`PARIS`", "'Paris'"], ["Paris it is", "", "Pari"]),
    (Text(equals=["A b"], exact=True), ["A b", "A b\n"], ["a b", "A  b", "A b."]),
    (
        Text(equals=["x"], label="Answer"),
        ["so\nAnswer: x", "**Answer:** X", "Answer: y\nAnswer: x"],
        ["x", "Answer: y"],
    ),
    (
        Number(value=1234.5),
        ["1,234.5", "It is 1234.5.", "$1,234.50", "1.2345e3"],
        ["1234", "1 or 1234.5", "none", ""],
    ),
    (Number(value=-3), ["-3", "\u22123", "x = -3", "-3.0"], ["3", "- 3 4"]),
    (Number(value=0.5, tolerance=0.01), ["1/2", "0.495", "0.51"], ["0.52", "5/0"]),
    (
        Number(value=7, label="Answer"),
        ["2 + 5\nAnswer: 7", "Answer: 7 apples", "*Answer*: **7**"],
        ["7", "Answer: 7 or 8"],
    ),
    (Contains(all=["a b"], none=["no"]), ["A  B", "x\na\nb"], ["a", "a b, No!"]),
    (Contains(any=["don't", "cannot"]), ["I don\u2019t", "cannot"], ["can"]),
    (Contains(all=["A"], case=True), ["A"], ["a"]),
    (Regex(present=["^b$"], absent=["c"]), ["a\nb"], ["ab", "b\nc"]),
    (Regex(full="a+"), ["aaa", "a\n"], ["aab", ""]),
    (Count(unit="words", exactly=3), ["one two-fold three's", "one, two; three!"], ["one two", "a b c d"]),
    (
        Count(unit="sentences", exactly=2),
        ["One. Two!", "Pi is 3.14. So?", '"A." "B."'],
        ["One.", "One. Two. Three."],
    ),
    (
        Count(unit="bullets", least=2, most=3),
        ["- a\n* b", "- a\n- b\n- c"],
        ["- a", "-a\n-b", "- a\n- b\n- c\n- d"],
    ),
    (Count(unit="numbered", exactly=2), ["1. a\n2) b"], ["1. a", "1.a\n2.b"]),
    (Count(unit="paragraphs", exactly=2), ["a\nb\n\nc"], ["a\nb", "a\n\nb\n \nc"]),
    (Count(unit="words", most=2, each_line=True), ["a b\nc"], ["a b\nc d e", ""]),
    (Form(case="upper"), ["A 1!"], ["a", "Ab", ""]),
    (Form(case="lower"), ["a 1!"], ["A"]),
    (Form(letters_absent="e"), ["A cat"], ["THE cat"]),
    (Form(begins="> ", ends="."), ["> a."], ["a.", "> a"]),
    (Form(every_line=r"- \w+"), ["- a\n\n- b"], ["- a\nb"]),
    (Form(every_word="[a-z]{1,3}"), ["one two"], ["three"]),
    (Form(sorted_lines=True), ["Ant\nbee\nCat"], ["bee\nant"]),
    (
        Form(language="de"),
        ["Das ist ein Haus, und es ist nicht klein."],
        ["This is a house and it is not small.", "12", ""],
    ),
    (
        Form(language="fr"),
        ["Le chat est dans la maison avec une souris."],
        ["El gato es una criatura que vive en la casa."],
    ),
    (Repeated(text="rose", exactly=2), ["rose rose", "roses, rose"], ["rose", "Rose rose", "rose rose rose"]),
    (
        Data(equals={"a": 1}),
        ['{"a": 1}', '```json\n{"a": 1.0}\n```'],
        [
            '{"a": "1"}',
            '{"a": true}',
            '{"a": 1, "b": 2}',
            "{'a': 1}",
            "{}",
            "[1]",
            '{"a": 2, "a": 1}',
            '{"a": NaN}',
            "",
        ],
    ),
    (Data(equals=None), ["null"], ["0", "false", ""]),
    (Data(bare=True, equals=[]), ["[]"], ["```\n[]\n```", "Here: []"]),
    (
        Data(values={"a.b[1].c": 3}),
        ['{"a": {"b": [0, {"c": 3}]}, "x": 1}'],
        ['{"a": {"b": [0]}}', '{"a": {"b": [0, {"c": 4}]}}', '{"a": 1}'],
    ),
    (Data(format="csv", columns=["a", "b"]), ["a,b\n1,2"], ["b,a\n1,2", "a,b\n1", "a,b", ""]),
    (Data(format="csv", equals=[{"a": "x,y"}]), ['a\n"x,y"'], ["a\nx,y", "a\nx"]),
    (
        Data(format="table", equals=[{"a": "1"}]),
        ["| a |\n|---|\n| 1 |", "| a |\n| :-: |\n| 1 |"],
        ["| a |\n| 1 |", "a\n1"],
    ),
    (
        Data(format="yaml", equals={"a": "1.10", "b": [True]}),
        ["a: '1.10'\nb: [true]", '```yaml\na: "1.10"\nb:\n- true\n```'],
        ["a: 1.10\nb: [true]", "a: [", "a: '1.10'\nb: ['true']"],
    ),
    (Data(format="toml", equals={"a": {"b": 1}}), ["[a]\nb = 1", "a.b = 1"], ["a = 1", "[a]\nb: 1"]),
    (Data(format="jsonl", equals=[1, 2]), ["1\n2"], ["[1, 2]", "1,\n2"]),
    (
        Command(accept=["ls -l a"]),
        ["ls -l a", "`ls -l a`", "```bash\nls -l a\n```", "$ ls \\\n -l a"],
        ["ls a", "ls -l a\nls -l b", "", "Run ls -l a", "ls -l 'a"],
    ),
    (
        Python(accept=["if a == b:"], label="Fix"),
        ["Fix: if a == b:", "Fix: `if (a == b):`"],
        ["Fix: if a = b:", "Fix: if b == a:", "if a == b:", "Fix:"],
    ),
    (Python(accept=["return a[1 :]"]), ["return a[1:]"], ["yield a[1:]", "return a[1]"]),
    (Python(accept=["elif x is None:"]), ["elif x is None:"], ["if x is None:", "elif x is 1:"]),
]


def named(value):
    """The same in every process: without the address of the object that stands for anything."""
    return re.sub(r"<object object at \w+>", "anything", str(value))


@pytest.mark.parametrize(
    ("check", "text"), [(check, text) for check, right, _ in CHECKS for text in right], ids=named
)
def test_an_answer_that_is_right_passes(check, text):
    assert check.complaint(Answer(text)) is None


@pytest.mark.parametrize(
    ("check", "text"), [(check, text) for check, _, wrong in CHECKS for text in wrong], ids=named
)
def test_an_answer_that_is_wrong_gets_a_sentence(check, text):
    assert check.complaint(Answer(text))


def calls(*made):
    return Answer("", tuple(Call(name, arguments) for name, arguments in made))


def test_tool_calls_are_compared_by_name_and_arguments_in_any_order():
    check = Calls(are=[{"a": {"x": 1}}, {"b": {}}])
    assert check.complaint(calls(("b", {}), ("a", {"x": 1.0}))) is None
    assert check.complaint(calls(("a", {"x": 1}))) == "the list of calls has 1 items, not 2"
    assert check.complaint(calls(("b", {}), ("a", {"x": "1"})))
    assert check.complaint(calls(("b", {}), ("a", {"x": 1, "y": 2})))
    assert check.complaint(calls(("b", {}), ("a", {"x": 1}), ("b", {})))
    assert check.complaint(calls(("b", {}), ("a", None))) == "the arguments of a are not a JSON object"


def test_tool_calls_in_a_given_order_and_no_tool_call():
    check = Calls(are=[{"a": {}}, {"b": {}}], order="given")
    assert check.complaint(calls(("a", {}), ("b", {}))) is None
    assert check.complaint(calls(("b", {}), ("a", {})))
    assert Calls(are=[]).complaint(Answer("x")) is None
    assert Calls(are=[]).complaint(calls(("a", {}))) == "a is called"


def test_which_tools_are_used():
    answer = calls(("a", {}), ("b", {}))
    assert Called(tools=["a"], never=["c"], most=2).complaint(answer) is None
    assert Called(tools=["c"]).complaint(answer) == "c is not used"
    assert Called(never=["b"]).complaint(answer) == "b is used"
    assert Called(most=1).complaint(answer) == "2 calls, more than 1"


@pytest.mark.parametrize(
    ("expected", "right", "wrong"),
    [
        ({"$any": [1, "a"]}, [1, "a"], ["1", 2, None]),
        ({"$regex": "a+"}, ["aa", " a "], ["ab", 1]),
        ({"$unordered": [1, {"$any": [1, 2]}]}, [[1, 2], [2, 1], [1, 1]], [[2, 2], [1], "12"]),
        ({"a": {"$optional": 1}}, [{}, {"a": 1}], [{"a": 2}, {"b": 1}]),
        ({"$near": [1, 0.5]}, [1, 1.5, 0.5], [1.6, "1", True]),
        ({"$with": {"a": 1}}, [{"a": 1, "b": 2}], [{"b": 2}]),
        ({"$type": "integer"}, [1], [1.5, True, "1", None]),
        ([1, [2]], [[1, [2]]], [[1, 2], [1], [1, [2], 3]]),
        (True, [True], [1, "true"]),
        (None, [None], [0, "", "null"]),
    ],
)
def test_expected_values(expected, right, wrong):
    assert [one for one in right if difference(one, expected) is not None] == []
    assert [one for one in wrong if difference(one, expected) is None] == []


def test_patterns_are_not_tried_on_an_endless_answer():
    assert Regex(present=["a"]).complaint(Answer("a" * 8000)) is None
    assert "more than the 8000" in str(Regex(present=["a"]).complaint(Answer("a" * 8001)))


def test_where_a_value_is_wrong_is_said():
    assert difference({"a": [{"b": 1}]}, {"a": [{"b": 2}]}) == "a[0].b is 1, not 2"
    assert difference({"a": 1, "c": 2}, {"a": 1}) == "the answer has c too"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a", "a"),
        ("x\n```py\na\n```\ny", "a"),
        ("```\na\n```\n```\nb\n```", "```\na\n```\n```\nb\n```"),
        ("```\n```", ""),
    ],
)
def test_the_only_code_block_is_the_answer(text, said):
    assert unfenced(text) == said


def test_thinking_in_front_of_an_answer_is_left_out_and_only_there():
    assert without_thinking("<think>\nno\n</think>\n\nyes") == "yes"
    assert without_thinking("say <think>a</think>") == "say <think>a</think>"
    assert without_thinking("<think>endless") == "<think>endless"


def test_the_last_line_with_the_label_counts():
    assert labelled("Answer: 1\n**Answer**: 2\nso be it", "Answer") == "2"
    assert labelled("The answer: 1", "Answer") is None


@pytest.mark.parametrize(
    "value", [{}, {"nothing": {}}, {"text": {"equals": []}}, {"count": {"unit": "pages"}}]
)
def test_a_check_without_a_checker_or_with_wrong_arguments_is_refused(value):
    with pytest.raises(ValidationError):
        CheckFile.model_validate(value)


def test_an_optional_parameter_has_to_be_one():
    tool = {"description": "x", "parameters": {}, "optional": ["y"]}
    with pytest.raises(ValidationError, match="'y' is optional, but is no parameter"):
        PackFile.model_validate({"pack": "a", "title": "b", "tools": {"t": tool}, "scenarios": []})


@given(st.text(max_size=200))
def test_no_text_makes_a_checker_fail(text):
    for check, _, _ in CHECKS:
        said = check.complaint(Answer(text))
        assert said is None or said


@given(st.floats(-1e9, 1e9).map(lambda one: round(one, 3)))
def test_a_number_is_read_as_it_is_written(number):
    assert number_in(f"It is {number:,.3f} metres.") == pytest.approx(number)


@given(st.lists(st.text("abc", min_size=1), max_size=9))
def test_words_are_counted(words):
    assert counted(" ".join(words), "words") == len(words)
