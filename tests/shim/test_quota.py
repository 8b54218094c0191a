"""The shipped reservation under kill -9 at random moments: not a byte lost, not a byte too much."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gshare.shim import abi

SHIM = [
    f"../../shim/src/{name}.c"
    for name in ("quota", "region", "asked", "handover", "preloaded", "self", "slot", "trace", "lock", "log")
]


@pytest.fixture
def tenant_dir(tmp_path: Path) -> Path:
    devices = [
        abi.DeviceLimits(uuid=bytes([i] * 16), device_memory_bytes=1 << 30, memory_limit_bytes=1000)
        for i in (1, 2)
    ]
    abi.create_limits(tmp_path / "limits", "t", 0, devices, now_ns=0)
    abi.create_usage(tmp_path / "usage")
    abi.create_activity(tmp_path / "activity")
    return tmp_path


@pytest.fixture(scope="session")
def quota_kills(build: Callable[..., Path]) -> Path:
    return build("quota_kills", "quota_kills.c", *SHIM)


def run(
    program: Path, kills: int, processes: int, seed: int, most_ms: int, folder: Path, environ: dict[str, str]
) -> None:
    done = subprocess.run(
        [program, str(kills), str(processes), str(seed), str(most_ms)],
        check=False,
        env={**environ, "GSHARE_TENANT_DIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=1000,
    )
    print(done.stdout)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr


MOST_MS = 50
"""Nobody waits longer than this for another's death."""


@pytest.mark.parametrize(("seed", "kills"), [(1, 150), (2, 150), (3, 200)])
def test_five_hundred_kills(
    quota_kills: Path, tenant_dir: Path, environ: dict[str, str], seed: int, kills: int
) -> None:
    run(quota_kills, kills, 4, seed, 10 * MOST_MS, tenant_dir, environ)


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_ten_thousand_kills(quota_kills: Path, tenant_dir: Path, environ: dict[str, str]) -> None:
    run(quota_kills, 10_000, 8, 4, MOST_MS, tenant_dir, environ)
