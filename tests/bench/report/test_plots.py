"""Where plots put things."""

import math
import re
from xml.etree import ElementTree as ET

import pytest

from gpumod.bench.report.axes import Axis, axis_of, tick_texts
from gpumod.bench.report.plots import Dots, Point, Series, dot_plot, line_plot
from gpumod.bench.report.quantities import duration, instant, interval, quantity, size

GIB = 1024**3


def places(svg: str, kind: str, name: str) -> list[float]:
    found = ET.fromstring(svg).iter(f"{{http://www.w3.org/2000/svg}}{kind}")
    return [float(one.attrib[name]) for one in found if "grid" not in one.attrib.get("class", "")]


def test_a_dot_is_where_its_number_is() -> None:
    svg = dot_plot("t", [Dots("a", [1.0, 2.0, 3.0], 2.0, 1.5, 2.5)], "s")
    one, two, three = places(svg, "circle", "cx")
    assert three - two == pytest.approx(two - one, abs=0.2)
    assert places(svg, "line", "x1") == [two]  # the estimate
    (left,), (width,) = places(svg, "rect", "x"), places(svg, "rect", "width")
    assert left == pytest.approx((one + two) / 2, abs=0.2)
    assert left + width == pytest.approx((two + three) / 2, abs=0.2)


def test_plots_are_in_the_units_that_people_read() -> None:
    assert " GiB</text>" in dot_plot("t", [Dots("a", [17.0 * GIB, 19.0 * GIB])], "bytes")
    assert ">20 %</text>" in dot_plot("t", [Dots("a", [0.1, 0.5], 0.3, 0.2, 0.4)], "share", (0.0, 1.0))
    assert ">40 ms</text>" in line_plot("t", [Series("", [Point(1, 0.02), Point(2, 0.05)])], "s", "s")


def test_nothing_is_drawn_beyond_the_scale() -> None:
    axis = axis_of([0.2, 1.0], 0, 100, (0.0, 1.0))
    assert axis.high == 1.0
    assert axis_of([0.0, 0.1], 0, 100).low == 0.0
    assert axis.at(2.0) == 100.0
    assert axis.at(-1.0) == 0.0
    assert axis_of([-4.0, 4.0], 0, 100).low < -4.0


def test_ticks_are_round_and_on_the_axis() -> None:
    for low, high in ((0, 1), (0.13, 0.17), (-3, 1000), (5, 5), (1e9, 3e9)):
        axis = Axis(low, high, 0, 100)
        ticks = axis.ticks()
        assert 1 <= len(ticks) <= 20
        assert all(low - 1e-9 <= one <= high * (1 + 1e-9) + 1e-9 for one in ticks)
    assert Axis(0, 1, 0, 1).ticks() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert tick_texts([0.1 + 0.2, 16384.0], "ms") == ["0.3 ms", "16384 ms"]
    near = tick_texts([18.0, 18.0000001], "GiB")
    assert near == ["18 GiB", "18.0000001 GiB"]


def test_equal_factors_are_equally_far_apart_on_a_logarithmic_axis() -> None:
    points = [Point(512.0, 3.0, 2.0, 4.0), Point(4096.0, 2.0), Point(32768.0, 1.0)]
    svg = line_plot("t", [Series("", points)], "s", "", logarithmic=True)
    one, two, three = places(svg, "circle", "cx")
    assert three - two == pytest.approx(two - one, abs=0.3)
    high, middle, low = places(svg, "circle", "cy")
    assert high < middle < low
    assert ">512<" in svg.replace(".0", "")


def test_many_points_and_odd_ones_are_drawn_without_end_or_error() -> None:
    values = [*map(float, range(5000)), math.nan, math.inf]
    assert len(places(dot_plot("t", [Dots("a", values)], "s"), "circle", "cx")) <= 300
    points = [Point(float(one), 1.0) for one in range(5000)]
    svg = line_plot("t", [Series(f"s{one}", points) for one in range(9)], "s", "s")
    assert len(set(re.findall(r'class="mark (s\d)"', svg))) == 6
    assert len(places(svg, "circle", "cx")) <= 2 * 300
    dot_plot("t", [Dots("a", [])], "s")
    dot_plot("<&\"'", [Dots("<b>&", [1.0], 1.0)], "s")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "s", "not measured"),
        (math.nan, "s", "not measured"),
        (0.0123, "s", "12.3 ms"),
        (2.5, "s", "2.50 s"),
        (0.0, "s", "0 s"),
        (0.8333, "share", "83.3 %"),
        (1.0, "share", "100 %"),
        (41.26, "tokens/s", "41.3 tokens/s"),
        (5.0 * GIB, "bytes", "5 GiB"),
        (1.5e6, "bytes/h", "1.43 MiB/h"),
        (-1.5e6, "bytes/h", "-1.43 MiB/h"),
        (123456.0, "tokens", "123456 tokens"),
        (97.5, "points", "97.5 points"),
        (0.0312, "p", "p = 0.031"),
        (1e-9, "p", "p < 0.001"),
    ],
)
def test_numbers_have_their_units(value: float | None, unit: str, text: str) -> None:
    assert quantity(value, unit) == text


def test_both_ends_of_an_interval_are_in_the_unit_of_the_number() -> None:
    assert interval(0.9, 1.1, "s", 0.95) == "900 to 1100 ms"
    assert interval(0.4781, 0.8873, "share") == "47.8 to 88.7 %"
    assert interval(99.51, 99.58, "tokens/s", 99.54) == "99.510 to 99.580 tokens/s"
    assert interval(None, None, "s") == ""
    assert interval(1.0, None, "s") == "from 1.00 s"
    assert interval(2.0, 2.0, "points") == "2.00 to 2.00 points"


def test_times_and_sizes() -> None:
    assert instant(1.7e9) == "2023-11-14 22:13:20 UTC"
    assert instant(None) == instant(1e300) == instant(math.nan) == "not known"
    assert duration(math.nan) == "not known"
    assert size(17_000_000_000) == "15.8 GiB (17000000000 bytes)"
    assert size(5) == "5 bytes"
