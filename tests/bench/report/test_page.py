"""The HTML file, as a parser of HTML reads it."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from gpumod.bench.report import render
from gpumod.bench.report.page import POLICY
from gpumod.bench.report.texts import plain
from gpumod.core.job import Outcome, Sample
from tests.bench.report.examples import HOSTILE, hostile, job, result, speed_samples

VOID = {"meta"}
_KNOWN = """html head meta title style body main section h1 h2 h3 p b i ul li dl dt dd code pre div span table
caption thead tbody tr th td details summary figure figcaption svg line text rect circle polyline polygon"""
_GIVEN = """lang charset name content http-equiv class role scope aria-label viewbox xmlns x y x1 x2 y1 y2 cx
cy r width height points text-anchor fill stroke fill-opacity"""
KNOWN, GIVEN = set(_KNOWN.split()), set(_GIVEN.split())


class Page(HTMLParser):
    """Tags, attributes and texts; fails where tags are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open[-1], data))

    def under(self, tag: str) -> list[str]:
        return [text for where, text in self.texts if where == tag]


@pytest.fixture(scope="module")
def usual() -> str:
    return render(job(), [result()], speed_samples(), "html")


def test_it_loads_nothing_and_runs_nothing(usual: str) -> None:
    for text in (usual, render(*hostile(), "html")):
        page = Page(text)
        assert {tag for tag, _ in page.tags} <= KNOWN
        assert {name for _, given in page.tags for name in given} <= GIVEN
        style = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
        assert len(style) == 1
        assert "url(" not in style[0]
        assert "@import" not in style[0]


def test_its_policy_lets_its_own_style_in_and_nothing_else(usual: str) -> None:
    style = re.findall(r"<style>(.*?)</style>", usual, re.DOTALL)[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in POLICY
    assert POLICY.startswith("default-src 'none';")
    assert "unsafe" not in POLICY
    inside = next(given for tag, given in Page(usual).tags if tag == "meta" and "http-equiv" in given)
    assert POLICY.startswith(str(inside["content"]))


def test_hostile_texts_are_there_as_texts() -> None:
    page = Page(render(*hostile(), "html"))
    # A text without a line end is shown whole.
    assert sum(plain(HOSTILE)[:60] in text for _, text in page.texts) > 10
    assert page.under("script") == []


def test_every_table_has_headings_and_every_plot_a_name(usual: str) -> None:
    page = Page(usual)
    plots = [given for tag, given in page.tags if tag == "svg"]
    assert len(plots) >= 6
    assert all(given["role"] == "img" and given["aria-label"] for given in plots)
    tables = sum(tag == "table" for tag, _ in page.tags)
    assert len(page.under("caption")) == tables
    assert all(given.get("scope") in {"col", "row"} for tag, given in page.tags if tag == "th")
    assert page.tags[0] == ("html", {"lang": "en"})


def test_it_shows_samples_settings_and_drift(usual: str) -> None:
    captions = Page(usual).under("figcaption")
    assert "decode client: samples and interval" in captions
    assert "ttft by setting" in captions
    assert "decode client over time" in captions
    assert "memory peak over time" in captions


def test_memory_is_shown_over_time_where_it_was_read() -> None:
    looks = [{"at": 1.7e9 + 60 * one, "requests": one, "memory": {"GPU-1": 2**30 + one}} for one in range(5)]
    odd = ["x", {"at": "y"}, {"at": 1, "memory": {"GPU-1": "z"}}]
    sample = Sample(
        "chat", "s1", Outcome.EMPTY, 0.0, {}, {"looks": [*looks, *odd], "why": "<silence>"}, 1.7e9, 9.0
    )
    text = render(job(suite="soak"), [result(suite="soak")], [sample], "html")
    page = Page(text)
    assert "Memory held over time" in page.under("figcaption")
    plot = text[text.index("Memory held over time</figcaption>") :]
    assert plot[: plot.index("</svg>")].count("<circle") == 5
    assert ">4 min</text>" in plot
    assert "<silence>" in page.under("td")


def test_what_speaks_against_it_comes_first() -> None:
    text = render(job(), [result(integrity=("chat was restarted meanwhile",))], speed_samples(), "html")
    page = Page(text)
    assert "Do not trust these numbers" in page.under("h2")[0]
    assert text.index("chat was restarted meanwhile") < text.index("tokens/s")


def test_many_samples_do_not_make_a_page_without_end() -> None:
    from dataclasses import replace

    one = speed_samples()[0]
    many: list[Any] = [
        replace(one, case=f"c{number}", details={"answer": "x" * 9000}) for number in range(3000)
    ]
    text = render(job(), [result()], many, "html")
    assert "3000 samples, of which 2000 are here" in text
    assert len(text) < 6_000_000
