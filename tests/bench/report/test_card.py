"""The Markdown card, as a parser of Markdown reads it."""

import re

from markdown_it import MarkdownIt
from markdown_it.token import Token

from gpumod.bench.report import render
from gpumod.bench.report.texts import fenced, markdown_code, markdown_text, plain
from gpumod.core.job import JobState, Metric
from tests.bench.report.examples import HOSTILE, hostile, job, result, speed_samples

MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])
HARMLESS = {"text", "strong_open", "strong_close", "em_open", "em_close", "code_inline", "html_inline"}


def inline(text: str) -> list[Token]:
    return [child for token in MARKDOWN.parse(text) for child in token.children or ()]


def cells(text: str) -> list[list[str]]:
    """Rows of all tables, each cell as it is read."""
    rows: list[list[str]] = []
    for token in MARKDOWN.parse(text):
        if token.type == "tr_open":
            rows.append([])
        if token.type == "inline" and rows and token.map and token.level > 3:
            rows[-1].append("".join(one.content for one in token.children or ()))
    return rows


def test_it_begins_with_what_the_suite_is_about_and_every_number_has_its_samples() -> None:
    rows = cells(render(job(), [result()], speed_samples(), "markdown"))
    assert rows[0] == ["depth in tokens", "decode", "prefill", "time to first token"]
    assert rows[1][0] == "512"
    assert rows[1][1] == "99 tokens/s (96.5 to 101.5 tokens/s, n = 3)"  # 98, 99, 100: t(2) = 4.303
    assert rows[2][0] == "16384"
    assert rows[2][3] == "3.28 s (3.28 to 3.28 s, n = 3)"
    numbers = {row[0]: row[1:] for row in rows[3:6]}
    assert numbers["draft acceptance"] == ["81 %", "80.1 to 81.9 %", "6"]
    assert numbers["memory peak"] == ["18.0 GiB", "none", "6"]


def test_it_has_what_ran_and_no_secret() -> None:
    text = render(job(), [result()], speed_samples(), "markdown")
    facts = {row[0]: row[1] for row in cells(text) if len(row) == 2}
    assert facts["engine build"] == "b6789 (0123abcd)"
    assert facts["model file"] == "gemma-4-26B-A4B-it-qat-UD-Q4_K_XL.gguf, 15.8 GiB (17000000000 bytes)"
    assert facts["quant"] == "UD-Q4_K_XL (by the file’s name)".replace("’", "'")
    assert facts["KV cache"] == "k=q8_0, v=q8_0"
    assert facts["context"] == "8192 tokens"
    assert facts["power limit"] == "450 W"
    assert facts["driver"] == "580.95"
    assert facts["host load"].startswith("0.50 0.40 0.30 at the start, 1.50 1.00 0.50 at the end")
    assert facts["sampler as sent"] == "temperature=0, top_k=1"
    assert facts["suite hash"] == "ab" * 32
    assert "--api-key '***' '--hf-token=***' -c 8192" in facts["command"]
    assert "sesame" not in text
    assert facts["ok"] == "6"
    assert "gpumodctl job submit --param repeats=3 --label=nightly speed chat" in text


def test_it_tells_what_the_model_file_itself_says() -> None:
    from gpumod.bench.report.provenance import facts

    weights = {"Q4_K": 9 * 1024**3, "Q6_K": 2 * 1024**3, "F32": 1024**2}
    files = [
        {"path": "/m/mmproj-F16.gguf", "size": 9, "quant": "F16"},
        {"path": "/m/Q8_0.gguf", "size": 11 * 1024**3, "quant": "Q4_K_M", "weights": weights},
    ]
    counted = {"others": {"prompt_tokens": 0, "generated_tokens": 7}, "cases_not_counted": 2}
    provenance = {
        "services": [{"files": files}],
        "host": {"load": [1, 2, 3]},
        "host_load_at_end": {"load": None, "load_max": 4.5},
        "requests": counted,
    }
    told = dict(facts(result(provenance=provenance)))
    assert told["quant"] == "Q4_K_M (Q4_K 9 GiB, Q6_K 2 GiB, F32 1 MiB)"
    assert told["host load"].endswith(
        "not measured at the end (1, 5, 15 minutes), at most 4.50 over a minute"
    )
    assert told["served to others"] == "prompt_tokens=0, generated_tokens=7 (not counted in 2 cases)"


def test_what_speaks_against_it_stands_above_all_numbers() -> None:
    text = render(job(), [result(integrity=("python (pid 3) held 2 GiB",))], speed_samples(), "markdown")
    assert text.index("Do not trust the numbers of `chat`:** python (pid 3) held 2 GiB") < text.index(
        "tokens/s"
    )
    assert "Do not trust" not in render(job(), [result()], speed_samples(), "markdown")


def test_what_was_not_measured_is_said_to_be() -> None:
    nothing = Metric("coding.points.v1", None, "points", larger_is_better=True)
    one = result(suite="coding", metrics=(nothing,), provenance={}, outcomes={})
    text = render(job(suite="coding"), [one], [], "markdown")
    assert ["points", "not measured", "none", "0"] in cells(text)
    facts = {row[0]: row[1] for row in cells(text) if len(row) == 2}
    assert (facts["driver"], facts["host"]) == ("not known", "not known")


def test_numbers_of_which_no_end_is_better_are_shown_where_there_are_no_others() -> None:
    numbers = (Metric("own.size.v1", 12.0, "tokens", count=2), Metric("own.p.v1", 0.2, "p", count=2))
    rows = cells(render(job(suite="own"), [result(suite="own", metrics=numbers)], [], "markdown"))
    assert rows[1:3] == [["size", "12 tokens", "none", "2"], ["p", "p = 0.2", "none", "2"]]


def test_a_job_that_has_not_ended_says_so() -> None:
    from dataclasses import replace

    text = render(replace(job(), state=JobState.RUNNING, ended=None), [], speed_samples(), "markdown")
    assert "Do not trust this report:** the job has not ended" in text
    assert "no result was kept for this target; it has 6 samples" in text
    assert ["ok", "6"] in cells(text)


def test_no_text_of_others_is_markup() -> None:
    text = render(*hostile(), "markdown")
    allowed = MARKDOWN.parse(text)
    types = {token.type for token in inline(text)}
    assert types <= HARMLESS, types
    assert {one.content for one in inline(text) if one.type == "html_inline"} <= {"<sub>", "</sub>"}
    assert not [token for token in allowed if token.type in {"html_block", "ordered_list_open"}]
    assert len([token for token in allowed if token.type == "heading_open"]) == 2
    assert len([token for token in allowed if token.type == "fence"]) == 1
    widths = {len(row) for row in cells(text)}
    assert widths == {2, 4}
    assert not re.search(r"(?<!`)@[a-z]", text.partition("````sh")[0])


def test_escaped_text_reads_as_it_was_written() -> None:
    for text in (
        HOSTILE,
        "Q4_K_XL",
        "a_b",
        "_a_",
        "*x*",
        "1 < 2 & 3",
        "x|y",
        "x\\|y",
        "`",
        "` `` |",
        "a\u202eb",
    ):
        for wrap in (markdown_text, markdown_code):
            read = cells(f"| {wrap(text)} |\n| --- |\n| {wrap(text)} |")
            shown = read[1][0].replace("\u2060", "")
            assert shown == plain(text), (wrap, text)


def test_a_fence_cannot_be_closed_by_what_is_in_it() -> None:
    text = fenced("a\n```\n# b\n````\nc", "sh")
    assert [token.type for token in MARKDOWN.parse(text)] == ["fence"]
