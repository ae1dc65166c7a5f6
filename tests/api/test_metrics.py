import re

import httpx2

from gpumod.access.rules import API
from gpumod.api import Metric, Sample
from gpumod.core.metrics import exposition
from gpumod.testing.switching import FakeBox
from gpumod.testing.switching_catalog import CARDS
from tests.api.conftest import Build

SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (\+Inf|-?[0-9.e+-]+)')


def parse(text: str) -> dict[str, float]:
    """Every sample by its name and labels; fails on a line that is not of the format."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        if line.startswith("# "):
            assert re.fullmatch(r"# (HELP [a-z_]+ .+|TYPE [a-z_]+ (counter|gauge|histogram))", line), line
            continue
        match = SAMPLE.fullmatch(line)
        assert match, line
        name = f"{match[1]}{{{match[2] or ''}}}"
        assert name not in found, f"{name} twice"
        found[name] = float(match[3])
    return found


async def scrape(client: httpx2.AsyncClient) -> dict[str, float]:
    answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return parse(answer.text)


async def test_the_budget_of_each_card_adds_up(client: httpx2.AsyncClient) -> None:
    await client.post(f"{API}/switches", json={"mode": "chat", "wait": True})
    found = await scrape(client)
    for index, card in enumerate(CARDS):
        label = f'{{card="{card}",index="{index}",name="NVIDIA GeForce RTX 4090"}}'
        total, *parts = (
            found[f"gpumod_card_memory_{name}_bytes{label}"]
            for name in ("total", "headroom", "charged", "foreign", "available")
        )
        assert total == sum(parts)


async def test_states_are_ones_and_zeros(client: httpx2.AsyncClient) -> None:
    await client.post(f"{API}/switches", json={"mode": "chat", "wait": True})
    found = await scrape(client)
    assert found['gpumod_box_state{state="settled"}'] == 1
    assert found['gpumod_box_state{state="degraded"}'] == 0
    assert found['gpumod_service_state{service="embed",state="ready"}'] == 1
    assert found['gpumod_service_generation{service="embed"}'] == 1
    assert found['gpumod_mode_info{mode="chat"}'] == 1


async def test_each_ended_switch_is_counted_once(client: httpx2.AsyncClient, box: FakeBox) -> None:
    for mode in ("chat", "broken"):
        await client.post(f"{API}/switches", json={"mode": mode, "wait": True})
    first = await scrape(client)
    assert first['gpumod_switches_total{state="committed"}'] == 1
    assert first['gpumod_switches_total{state="rolled_back"}'] == 1
    again = await scrape(client)
    assert again['gpumod_switch_duration_seconds_count{state="committed"}'] == 1
    box.step_seconds = 60
    await client.post(f"{API}/switches", json={"mode": "code"})
    assert (await scrape(client))['gpumod_switches_total{state="committed"}'] == 1, "it still runs"


async def test_a_restart_of_the_daemon_does_not_count_old_switches_again(api: Build) -> None:
    _, client = api()
    await client.post(f"{API}/switches", json={"mode": "chat", "wait": True})
    _, restarted = api()
    assert not [name for name in await scrape(restarted) if name.startswith("gpumod_switches_total")]
    await restarted.post(f"{API}/switches", json={"mode": "blank", "wait": True})
    assert (await scrape(restarted))['gpumod_switches_total{state="committed"}'] == 1


async def test_steps_are_a_histogram(client: httpx2.AsyncClient) -> None:
    await client.post(f"{API}/switches", json={"mode": "chat", "wait": True})
    found = await scrape(client)
    name = "gpumod_switch_step_duration_seconds"
    buckets = [value for key, value in found.items() if key.startswith(f'{name}_bucket{{step="start"')]
    assert buckets == sorted(buckets), "buckets are cumulative"
    assert buckets[-1] == found[f'{name}_bucket{{step="start",le="+Inf"}}'] == 2
    assert found[f'{name}_count{{step="start"}}'] == 2
    assert found[f'{name}_sum{{step="start"}}'] >= 0


async def test_requests_are_counted_by_what_was_answered(client: httpx2.AsyncClient) -> None:
    await client.get(f"{API}/status")
    await client.get(f"{API}/modes/nothing")
    await client.request("BREW", f"{API}/status")
    found = await scrape(client)
    assert found['gpumod_http_requests_total{method="GET",status="200"}'] == 1
    assert found['gpumod_http_requests_total{method="GET",status="404"}'] == 1
    assert found['gpumod_http_requests_total{method="other",status="405"}'] == 1


async def test_further_metrics_are_passed_on(api: Build) -> None:
    more = Metric("gpumod_adopted_total", "Services taken over.", "counter", (Sample(3),))
    _, client = api(metrics=lambda: (more,))
    assert (await scrape(client))["gpumod_adopted_total{}"] == 3


def test_labels_and_numbers_are_written_as_prometheus_reads_them() -> None:
    odd = 'a"b\\c\nd'
    text = exposition([Metric("m", "two\nlines", "gauge", (Sample(0.25, {"name": odd}), Sample(2**60)))])
    assert text == (
        '# HELP m two\\nlines\n# TYPE m gauge\nm{name="a\\"b\\\\c\\nd"} 0.25\nm 1152921504606846976\n'
    )
    assert len(parse(text)) == 2
