"""Names that nothing can have: plain sentences instead of patterns, and nothing is asked of the daemon."""

import pytest

IMPOSSIBLE = [
    (("switch", ""), "no mode is called ''"),
    (("switch", "../../x"), "no mode is called '../../x'"),
    (("switch", "../../x", "--dry-run"), "no mode is called '../../x'"),
    (("preflight", "a b"), "no preset or mode is called 'a b'"),
    (("mode", "show", "a/b"), "no mode is called 'a/b'"),
    (("service", "show", "a/b"), "no service is called 'a/b'"),
    (("service", "start", "embed", "--preset", "a b"), "no preset is called 'a b'"),
    (("switches", "show", "a b"), "no switch is called 'a b'"),
    (("lease", "release", "a b"), "no lease is called 'a b'"),
    (("job", "show", "a b"), "no job is called 'a b'"),
    (("job", "show", ""), "no job is called ''"),
    (("job", "submit", "a b", "chat"), "no suite is called 'a b'"),
    (("job", "submit", "speed", "a b"), "no preset or mode is called 'a b'"),
    (("job", "submit", "speed", "chat", "--after", "a b"), "no job is called 'a b'"),
    (("bench", "results", "--job", "a b"), "no job is called 'a b'"),
    (("bench", "compare", "report.html"), "'report.html' is no JOB, no JOB/TARGET and no report"),
    (("bench", "compare", "/tmp"), "'/tmp' is no JOB, no JOB/TARGET and no report"),
    (("bench", "compare", ""), "'' is no JOB, no JOB/TARGET and no report"),
    (("bench", "compare", "a/b/c"), "'a/b/c' is no JOB, no JOB/TARGET and no report"),
]


@pytest.mark.parametrize(("command", "told"), IMPOSSIBLE, ids=[" ".join(one) for one, _ in IMPOSSIBLE])
def test_what_cannot_exist_is_not_found(ctl, quiet_box, command, told):
    answer = ctl(*command)
    assert (answer.code, answer.out) == (5, "")
    assert answer.err.startswith(f"gpumodctl: {told}")
    assert "pattern" not in answer.err


def test_a_name_that_is_no_text_is_a_mistake_of_usage(ctl, quiet_box):
    answer = ctl("switch", "b\udcffd")
    assert (answer.code, answer.err) == (2, "gpumodctl: 'b\\udcffd' is no text in UTF-8\n")


def test_a_text_that_is_none_is_a_mistake_of_usage(ctl, quiet_box):
    answer = ctl("lease", "take", "--for", "1m", "--holder", "b\udcffd", "--json")
    assert answer.code == 2
    assert answer.json["detail"] == "'b\\udcffd' is no text in UTF-8"


def test_a_wrong_choice_is_told_without_words_of_a_library(ctl, quiet_box):
    answer = ctl("bench", "report", "J1", "--format", "pdf")
    assert answer.code == 2
    assert "'--format': 'pdf' is not one of" in answer.err
