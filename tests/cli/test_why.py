"""Shares and why a tenant waits, as a person asks; on the real clock, so that no share is told exactly."""

import json
import time

from .conftest import Home
from .test_shares import Shares, share, shares  # noqa: F401


def test_a_capped_tenant_is_told_its_cap_and_its_share(home: Home, shares: Shares) -> None:  # noqa: F811
    shares.start("a", "--compute", "20%")
    tenants = []
    for _ in range(20):
        time.sleep(0.5)
        tenants = json.loads(home.gshare("ps", "--compute", "--json").stdout)["tenants"]
        if tenants[0]["windows"] and tenants[0]["windows"][0]["throttled_ppm"] > 100_000:
            break
    (told,) = tenants
    assert (told["state"], told["guarantee_ppm"], told["granted_ppm"]) == ("throttled", 200_000, 200_000)
    assert 20_000 < told["windows"][0]["share_ppm"] < 500_000
    assert told["windows"][0]["queue_wait_ns"] > 0
    answer = home.gshare("why", "a")
    assert answer.returncode == 0
    assert "a on GPU 0: throttled" in answer.stdout
    assert "launches waited" in answer.stdout
    answer = json.loads(home.gshare("why", "a", "--json").stdout)
    assert (answer["schema"], answer["tenant"]) == ("gshare/why/v1", "a")
    assert answer["devices"][0]["reasons"][0]["kind"] in ("cap", "burst")
    home.gshare("pause", "a")
    assert "it is paused: nothing is launched\n    gshare resume a" in home.gshare("why", "a").stdout


def test_refused_memory_is_told(home: Home) -> None:
    program = home.allocator("--tenant", "a", "--mem", "1G")
    program.ask("take", 100)
    text = home.gshare("why", "a").stdout
    assert "refused in the last minute: cuMemAlloc_v2 asked for 64M" in text
    assert "neither measured nor made to wait" in text


def test_nobody_of_that_name(home: Home) -> None:
    result = home.gshare("why", "nobody")
    line = "gshare: why nobody: no tenant of this name runs (see gshare ps)\n"
    assert (result.returncode, result.stderr) == (5, line)
    both = home.gshare("ps", "--memory", "--compute")
    assert (both.returncode, both.stderr.count("\n")) == (2, 1)
