"""Metrics for Prometheus: what the picture says, by its conventions; the dashboard asks for nothing else."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gshare.controller.metrics import exposition
from gshare.controller.picture import device_use
from gshare.controller.replies import RefusalCount, Top, Unmanaged
from gshare.controller.share_replies import Totals

from .test_picture import DEVICE, GIB, WAITING, share

S = 1_000_000_000
TENANTS = [
    share(
        "a", 250_000, state="throttled", used_bytes=GIB, memory_limit_bytes=8 * GIB, promised_ppm=300_000,
        granted_ppm=400_000,
        totals=Totals(5 * S, S // 2, 7 * GIB, GIB, S // 4), processes=2, uncharged_bytes=GIB // 2,
    ),
    share("b", None),
]  # fmt: skip
TOP = Top(
    5,
    [device_use(DEVICE, TENANTS)],
    TENANTS,
    [Unmanaged(7, "eve", 0, "GPU-0", False, GIB, "x"), Unmanaged(8, "eve", 0, "GPU-0", False, None, "y")],
    [RefusalCount("a", 0, "GPU-0", "memory", 3), RefusalCount("a", None, "", "host-memory", 1)],
    [WAITING],
)
UNITS = ("bytes", "seconds", "ratio", "total", "info", "processes", "tenants", "state", "length")
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="needs promtool, of Debian's prometheus")
FILLED_IN = {"$__rate_interval": "5m", "$gpu": ".*", "$tenant": ".*"}
"""What Grafana puts in the place of its variables."""

DASHBOARD = json.loads((files("gshare.cli") / "grafana.json").read_text())


def samples(top: Top) -> dict[str, dict[tuple[str, ...], float]]:
    """By name and by the values of the labels, in the labels' order, without the uuid."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(exposition(top).decode()):
        for sample in family.samples:
            labels = tuple(value for name, value in sorted(sample.labels.items()) if name != "uuid")
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


def test_they_say_what_the_picture_says() -> None:
    told = samples(TOP)
    assert told["gshare_queue_length"] == {(): 1}
    assert told["gshare_device_memory_bytes"] == {("0",): 80 * GIB}
    assert told["gshare_device_compute_used_ratio"] == {("0",): 0.25}
    assert told["gshare_device_unmanaged_processes"] == {("0",): 2}
    assert told["gshare_device_unmanaged_memory_bytes"] == {("0",): GIB}
    assert told["gshare_tenant_memory_limit_bytes"] == {("0", "a"): 8 * GIB}, "b has no limit"
    assert told["gshare_tenant_compute_used_ratio"] == {("0", "a"): 0.25}, "b is not measured"
    assert told["gshare_tenant_gpu_seconds_total"] == {("0", "a"): 5, ("0", "b"): 0}
    assert told["gshare_tenant_throttled_seconds_total"][("0", "a")] == 0.5
    assert told["gshare_tenant_copied_bytes_total"][("h2d", "0", "a")] == 7 * GIB
    assert told["gshare_tenant_refusals_total"] == {("memory", "0", "a"): 3, ("host-memory", "", "a"): 1}
    assert told["gshare_tenant_state"][("0", "throttled", "a")] == 1
    assert sum(told["gshare_tenant_state"].values()) == 2


def test_names_are_as_prometheus_wants_them() -> None:
    for family in text_string_to_metric_families(exposition(TOP).decode()):
        assert family.documentation.endswith(".")
        for sample in family.samples:
            assert re.fullmatch(r"gshare_(controller|queue|device|tenant)(_[a-z]+)+", sample.name)
            assert sample.name.endswith(UNITS)
            assert sample.name.endswith("_total") == (family.type == "counter")


def promtool(what: str, given: bytes, *more: str) -> str:
    """What it complains of."""
    assert PROMTOOL
    told = subprocess.run(
        [PROMTOOL, "check", what, *more], input=given, capture_output=True, check=False, timeout=30
    )
    return "" if told.returncode == 0 else (told.stdout + told.stderr).decode()


@needs_promtool
def test_prometheus_has_no_complaint_about_them() -> None:
    text = exposition(TOP)
    assert promtool("metrics", text) == ""
    assert "counter metrics should have" in promtool("metrics", text.replace(b"seconds_total", b"seconds"))


@needs_promtool
def test_prometheus_reads_each_query_of_the_dashboard(tmp_path: Path) -> None:
    def rules(expressions: list[str]) -> str:
        file = tmp_path / "rules.json"
        named = [{"record": f"query{at}", "expr": text} for at, text in enumerate(expressions)]
        file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": named}]}))
        return promtool("rules", b"", str(file))

    expressions = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    for variable, value in FILLED_IN.items():
        expressions = [text.replace(variable, value) for text in expressions]
    assert rules(expressions) == ""
    assert "could not parse expression" in rules([*expressions, "rate(gshare_tenant_gpu_seconds_total)"])


def test_a_hostile_name_stays_a_label() -> None:
    evil = 'x"} 1\ngshare_tenant_processes{tenant="y'
    told = samples(msgspec.structs.replace(TOP, tenants=[share(evil, None)]))
    assert told["gshare_tenant_processes"] == {("0", evil): 1}


def queries() -> list[str]:
    variables = [variable["query"]["query"] for variable in DASHBOARD["templating"]["list"][1:]]
    return variables + [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


@pytest.mark.parametrize("query", queries())
def test_each_query_of_the_dashboard_has_its_metrics_and_labels(query: str) -> None:
    told = samples(TOP)
    labels = {
        sample.name: set(sample.labels)
        for family in text_string_to_metric_families(exposition(TOP).decode())
        for sample in family.samples
    }
    names = re.findall(r"gshare_\w+", query)
    assert names
    for name in names:
        assert name in told
    for name, selected in re.findall(r"(gshare_\w+)\{([^}]*)\}", query):
        assert set(re.findall(r"(\w+)=~", selected)) <= labels[name]
    for grouped in re.findall(r"by \(([^)]*)\)", query):
        assert set(grouped.split(", ")) <= labels[names[0]]


def test_the_dashboard_fits_its_grid_and_has_its_variables() -> None:
    used = set(re.findall(r"\$(\w+)", json.dumps(DASHBOARD["panels"]).replace("$__rate_interval", "")))
    assert used <= {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    cells = [
        (x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
