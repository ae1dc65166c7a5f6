"""YAML files as values with lines, within bounds."""

import contextlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpumod.config.documents import DEEPEST, LARGEST_FILE, DocumentError, parse_document, read_document


def value(text):
    return parse_document(text, "f.yaml").value


def failure(text):
    with pytest.raises(DocumentError) as caught:
        parse_document(text, "f.yaml")
    return caught.value.problem


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("on", "on"),
        ("yes", "yes"),
        ("2026-01-02", "2026-01-02"),
        ("1_000", "1_000"),
        ("010", 10),
        ("0o10", 8),
        ("0x10", 16),
        ("-3", -3),
        ("1.50", 1.5),
        ("1e3", 1000.0),
        ("true", True),
        ("~", {}),
        ("", {}),
        ("# nothing", {}),
        ("'5'", "5"),
        ("a: ", {"a": None}),
        ("1: x", {"1": "x"}),
        ("{a: [1, {b: c}], d: e}", {"a": [1, {"b": "c"}], "d": "e"}),
        ("%YAML 1.1\n---\na: on", {"a": "on"}),
        ("a: |\n  x\n  y\n", {"a": "x\ny\n"}),
    ],
)
def test_values_are_those_of_yaml_1_2(text, expected):
    assert value(text) == expected


def test_every_value_has_its_line():
    document = parse_document("a: 1\nb:\n  - x\n  - c:\n      d: 2\n", "f.yaml")
    assert document.line(("a",)) == 1
    assert document.line(("b", 0)) == 3
    assert document.line(("b", 1, "c", "d")) == 5
    assert document.line(("b", 1, "c", "not", "there")) == 4


def test_an_alias_is_the_value_of_its_anchor():
    assert value("a: &x {k: [1]}\nb: *x\nc: *x") == {"a": {"k": [1]}, "b": {"k": [1]}, "c": {"k": [1]}}


@pytest.mark.parametrize(
    ("text", "words", "line"),
    [
        ("a: [", "is not valid YAML", 1),
        ("a: 1\nb: c: d", "mapping values are not allowed here", 2),
        ("a: 1\n\tb: 2", "is not valid YAML", 2),
        ("a: 1\nb: 2\na: 3", "the key 'a' twice", 3),
        ("a: 1\n---\nb: 2", "more than one YAML document", 2),
        ("a: 1\nb: !!python/object:os.system x", "has a tag", 2),
        ("a: *b", "an alias *b to nothing", 1),
        ("a: &b [*b]", "an alias *b to nothing", 1),
        ("? [1]\n: 2", "a key that is not a word", 1),
        ("a: &a x\n*a : 2", "a key that is not a word", 2),
        ("a: \x00", "is not valid YAML", None),
        ("[" * 200, "brackets nested deeper", None),
    ],
)
def test_what_is_not_a_document_is_refused_with_its_line(text, words, line):
    problem = failure(text)
    assert words in problem.detail
    assert (problem.file, problem.line) == ("f.yaml", line)


def test_deep_nesting_is_refused():
    assert "nested deeper than" in failure("- " * (DEEPEST + 1) + "x").detail
    assert value("- " * DEEPEST + "x")


def test_many_open_brackets_are_refused_before_they_cost_time():
    # The scanner needs minutes for these.
    assert "brackets" in failure("[" * 100_000).detail


def test_an_alias_bomb_is_refused():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "more than" in failure("\n".join(lines)).detail


def test_an_alias_cannot_go_around_the_depth():
    lines = ["a0: &a0 [x]"]
    lines += [f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, DEEPEST + 1)]
    assert "nested deeper" in failure("\n".join(lines)).detail


def test_large_files_are_refused(tmp_path):
    path = tmp_path / "f.yaml"
    path.write_bytes(b"#" * (LARGEST_FILE + 1))
    with pytest.raises(DocumentError, match="larger than 1 MiB"):
        read_document(path)
    path.write_bytes(b"#" * LARGEST_FILE)
    assert read_document(path).value == {}


def test_a_file_that_cannot_be_read_says_why(tmp_path):
    with pytest.raises(DocumentError, match="No such file"):
        read_document(tmp_path / "missing.yaml")
    with pytest.raises(DocumentError, match="not a regular file"):
        read_document(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: \xe4")
    with pytest.raises(DocumentError, match="not UTF-8") as caught:
        read_document(tmp_path / "latin.yaml")
    assert caught.value.problem.line == 2


def test_a_fifo_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "f.yaml")
    with pytest.raises(DocumentError, match="not a regular file"):
        read_document(tmp_path / "f.yaml")


def test_a_byte_order_mark_is_no_content(tmp_path):
    path = tmp_path / "f.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1")
    assert read_document(path).value == {"a": 1}


@given(st.text(alphabet=st.sampled_from("ab:-[]{}&*!|>'\"#%@?, \n\t1\\."), max_size=60))
def test_any_text_is_a_document_or_a_problem(text):
    with contextlib.suppress(DocumentError):
        parse_document(text, "f.yaml")
