import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpumod.bench.suites.quality.checkers.commands import normal
from gpumod.bench.suites.quality.checkers.shell import ACTIVE, Operator, ShellSyntaxError, tokens


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("tar -xzf a.tgz -C out", "tar xzf a.tgz --directory=out"),
        ("tar -xzf a.tgz -C out", "tar -C out -z -x --file a.tgz"),
        ("head -5 a", "head -n5 a"),
        ("head -n 5 a", "head --lines=5 a"),
        ("grep -rn x .", "grep --line-number -R 'x' ."),
        ("ls -la b a", "ls -a -l a b"),
        ("sudo rm -rf a b", "rm b a -fr"),
        ("$ ls", "ls"),
        ("/usr/bin/ls ./a", "ls a"),
        ("cut -d';' -f2 a", 'cut -f 2 -d ";" a'),
        ("cmd &> log", "cmd > log 2>&1"),
        ("A=1 B='2' cmd", 'B=2 A="1" cmd'),
        ("find . -type f -name '*.py' -print", 'find -name "*.py" -type f'),
        ("find a -not -name b", "find a ! -name b"),
        ("find a -exec rm {} \\;", "find a -exec rm '{}' ';'"),
        ("git log --oneline -5", "git log -n 5 --oneline"),
        ("git commit -am 'a b'", 'git commit --all --message="a b"'),
        ("docker run --rm -it -e A=1 img cmd -x", "docker run -t -i --env A=1 --rm img cmd -x"),
        ("echo a # a comment", "echo a"),
        ("rm -- a", "rm a"),
        ("a 'b'\"c\"d", "a bcd"),
    ],
)
def test_two_ways_of_writing_one_command_are_equal(one, other):
    assert normal(one) == normal(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cp a b", "cp b a"),
        ("rm a", "rm -r a"),
        ("tail -n 5 a", "tail -n 6 a"),
        ("tail -n 5 a", "tail -c 5 a"),
        ("a && b", "a || b"),
        ("a; b", "a && b"),
        ("a | b", "b | a"),
        ("a > f 2>&1", "a 2>&1 > f"),
        ("a > f", "a >> f"),
        ("a 2> f", "a 2 > f"),
        ("find . -name '*.py'", "find . -name *.py"),
        ("find . -name x -delete", "find . -delete -name x"),
        ("find . -name a -o -name b", "find . -name b -o -name a -type f"),
        ("echo '$A'", 'echo "$A"'),
        ("echo '*'", "echo *"),
        ("docker run -e A=1 img", "docker run img -e A=1"),
        ("xargs rm -r", "xargs -r rm"),
        ("sleep 1 &", "sleep 1"),
        ("unknown -ab", "unknown -a"),
        ("unknown x y", "unknown y x"),
        ("chmod u+x a", "chmod +x a"),
        ("sort -k 1,1 -t , a", "sort -k 2,1 -t , a"),
    ],
)
def test_commands_that_do_something_else_differ(one, other):
    assert normal(one) != normal(other)


@pytest.mark.parametrize(
    "line", ["", "   ", "| a", "a |", "a &&", "ls 'a", 'ls "a', "a >", "ls \\", "echo $(a"]
)
def test_what_is_no_command_line_is_refused(line):
    with pytest.raises(ShellSyntaxError):
        normal(line)


def test_words_lose_their_quotes_and_what_the_shell_would_act_upon_is_marked():
    assert tokens("a 'b c' \"d $E\" f\\ g *.h 2>&1|i") == [
        "a", "b c", f"d {ACTIVE}$E", "f g", f"{ACTIVE}*.h", Operator("2>&1"), Operator("|"), "i",
    ]  # fmt: skip
    assert tokens("file2>x") == ["file2", Operator(">"), "x"]
    assert tokens('"a\\"b" "c\\d"') == ['a"b', "c\\d"]


@given(st.text(max_size=60))
def test_any_text_is_a_line_or_is_refused(line):
    try:
        found = normal(line)
    except ShellSyntaxError:
        return
    assert found == normal(line)


@given(st.lists(st.text("abc'\"\\ *$|;>&\n", min_size=1, max_size=8), min_size=1, max_size=4))
def test_quoted_words_come_back_as_they_were(words):
    quoted = " ".join("'" + word.replace("'", "'\\''") + "'" for word in words)
    assert tokens(quoted) == words
