"""The one picture that is shown everywhere: sums over a device's tenants, and who is there without gshare."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import psutil

from gshare.controller.events import EventLog
from gshare.controller.picture import device_use, picture
from gshare.controller.refusals import Refusals
from gshare.controller.replies import Device, RefusalCount, Shares, Waiting
from gshare.controller.share_replies import ShareWindow, TenantShare

GIB = 1 << 30
WINDOW = ShareWindow(1, 1_000_000_000, 0, None, 0, 0, 0, 0, 0, 0, 0)
WAITING = Waiting(
    place=1, tenant="late", pid=7, user="alice", priority="normal", memory_bytes=8 * GIB, memory_ppm=None,
    compute_ppm=300_000, gpus=[], placement="", since_ns=1, kept=[], why="8G of GPU 0 are promised",
    command="python x.py",
)  # fmt: skip
DEVICE = Device(0, "GPU-0", "Test", "1", False, "", 80 * GIB, 8 * GIB, 300_000, GIB, ["a", "b"])


def share(tenant: str, ppm: int | None, **more: Any) -> TenantShare:
    windows = [] if ppm is None else [msgspec.structs.replace(WINDOW, share_ppm=ppm)]
    fields: dict[str, Any] = dict(
        tenant=tenant, index=0, uuid="GPU-0", simulated=False, processes=1, state="busy", mode="concurrent",
        metered=ppm is not None, guarantee_ppm=None, ceiling_ppm=None, weight=None, priority="normal",
        promised_ppm=None, granted_ppm=None, busy_above=[], turn_ns=None, period_ns=None, used_bytes=0,
        memory_limit_bytes=None, copy_bytes_per_s={}, windows=windows, seconds_ppm=[],
    )  # fmt: skip
    return TenantShare(**{**fields, **more})


def test_a_device_has_what_its_tenants_have_together() -> None:
    tenants = [
        share("a", 200_000, seconds_ppm=[100_000, 200_000], state="throttled"),
        share("b", 300_000, seconds_ppm=[300_000]),
        share("c", None, state="paused"),
        share("a", 900_000, uuid="GPU-1", seconds_ppm=[900_000]),
    ]
    use = device_use(DEVICE, tenants)
    assert (use.got_ppm, use.waiting, use.name, use.used_bytes) == (500_000, 2, "Test", GIB)
    assert use.seconds_ppm == [0] * 58 + [100_000, 500_000]


def test_where_nobody_is_measured_nothing_is_known() -> None:
    use = device_use(DEVICE, [share("c", None)])
    assert (use.got_ppm, use.seconds_ppm, use.waiting) == (None, [], 0)


def test_strangers_and_refusals_are_in_it(tmp_path: Path) -> None:
    refusals = Refusals(EventLog(tmp_path / "events.jsonl"), lambda machine: [])
    refusals.counts = lambda name: Counter({("GPU-0", "memory"): 3, ("", "host-memory"): 1})  # type: ignore[method-assign]
    shares = Shares(5, [DEVICE], [share("a", None)])
    top = picture(shares, {(os.getpid(), 1, "GPU-0"): GIB, (2, 1, "GPU-9"): None}, refusals, [WAITING])
    other, own = top.unmanaged
    assert (own.pid, own.index, own.used_bytes) == (os.getpid(), 0, GIB)
    assert own.command == " ".join(psutil.Process().cmdline())
    assert (other.pid, other.index, other.uuid, other.used_bytes) == (2, None, "GPU-9", None)
    assert top.queue == [WAITING]
    assert top.refusals == [
        RefusalCount("a", None, "", "host-memory", 1),
        RefusalCount("a", 0, "GPU-0", "memory", 3),
    ]
