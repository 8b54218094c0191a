"""programs/share_load.c: what it says of launches whose time nobody gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from gshare.benchmarks import shares
from gshare.benchmarks.share_stage import Place, Stage, Tenant
from gshare.benchmarks.share_stats import shares as shares_between
from gshare.cli.sandbox import Sandbox
from gshare.controller.protocol import Limits

KERNEL_NS = 200_000
CAPPED = Limits(compute_ppm=300_000)


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with Sandbox(simulated=True, profile="h200") as sandbox:
        found = shares.place_on(sandbox, shares.Options())
        kernels = ",".join(f"{name}={KERNEL_NS}" for name in ("fma", "copy", "chase"))
        yield replace(found, environment={**found.environment, "SIMGPU_KERNELS": kernels})


@pytest.mark.parametrize(
    ("kind", "limits"), [("fma", None), *((kind, CAPPED) for kind in ("fma", "copy", "chase"))]
)
def test_a_kernel_is_timed_by_itself_also_under_a_cap(place: Place, kind: str, limits: Limits | None) -> None:
    load = {"kind": kind, "ns": 300, "per_sm": 4, "sigma": 0, "count": 1}
    with Stage(place, [Tenant(load, limits)]) as stage:
        stage.go()
        stage.wait(0.5)
        before, before_ns = stage.sample(), stage.work_ns(0)
        stage.wait(1)
        after, after_ns = stage.sample(), stage.work_ns(0)
    (percent,) = shares_between(before, after)
    assert percent == pytest.approx(30 if limits else 100, abs=2)
    assert (after_ns - before_ns) / 1e9 == pytest.approx(percent / 100, abs=0.02)
