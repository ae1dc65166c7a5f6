"""docs/grafana.json: what it shows is what is measured."""

import json
import re
from pathlib import Path

DASHBOARD = json.loads((Path(__file__).resolve().parents[2] / "docs/grafana.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
SOURCES = Path(__file__).resolve().parents[2] / "gpumod"


def test_every_metric_it_shows_is_there():
    told = set(re.findall(r'"(gpumod_[a-z_]+)"', "".join(path.read_text() for path in SOURCES.rglob("*.py"))))
    told |= {f"gpumod_card_memory_{name}_bytes" for name in ("charged", "free", "foreign")}
    shown = {
        re.sub(r"_bucket$", "", name)
        for panel in PANELS
        for target in panel["targets"]
        for name in re.findall(r"gpumod_[a-z_]+", target["expr"])
    }
    assert shown - told == set()
    assert {name for name in told if name.startswith("gpumod_gateway_")} - shown == {
        "gpumod_gateway_unread_total",
        "gpumod_gateway_connections",
    }


def test_panels_do_not_lie_on_each_other_and_have_ids_of_their_own():
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
