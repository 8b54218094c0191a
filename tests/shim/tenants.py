"""A tenant on a simulated machine of its own: its files, its programs, and the machine's truth."""

from __future__ import annotations

import json
import subprocess
import time
import uuid
from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Any

from starting import PREAMBLE, PYTHON, VARIABLES

from gshare.shim import abi, preload_environment, sim

HERE = Path(__file__).resolve().parent
MIB = 1 << 20
GIB = 1 << 30

CONTEXTS_BYTES: dict[str, list[int]] = {}
"""By the machine's profile; see Tenant."""


class Tenant:
    """Files for one tenant, all devices limited alike, and ways to run programs as it, and without limits."""

    def __init__(
        self,
        folder: Path,
        environ: dict[str, str],
        *,
        profile: str = "l4",
        limit_bytes: int | Sequence[int] = GIB,
    ) -> None:
        self.machine = str(folder / "machine")
        self.folder = folder / "tenant"
        self.folder.mkdir()
        sim.start(self.machine, profile)
        self.bare = {**environ, **sim.environment(self.machine), **VARIABLES, "PYTHONPATH": str(HERE)}
        self.context_bytes = self._contexts_bytes(profile)
        self._make_files(limit_bytes)

    def _make_files(self, limit_bytes: int | Sequence[int]) -> None:
        self.environ = preload_environment(self.folder, self.bare)
        limits = [limit_bytes] * len(self.devices()) if isinstance(limit_bytes, int) else limit_bytes
        abi.create_limits(
            self.folder / "limits",
            "tenant",
            0,
            [
                abi.DeviceLimits(
                    uuid=uuid.UUID(device["uuid"].removeprefix("GPU-")).bytes,
                    device_memory_bytes=device["memory_bytes"],
                    memory_limit_bytes=limit,
                    context_bytes=context,
                )
                for device, limit, context in zip(self.devices(), limits, self.context_bytes, strict=True)
            ],
            now_ns=time.monotonic_ns(),
        )
        abi.create_usage(self.folder / "usage")
        abi.create_activity(self.folder / "activity")
        self.limits = abi.Limits(self.folder / "limits", writable=True)
        self.usage = abi.Usage(self.folder / "usage")

    def beside(self, folder: Path, limit_bytes: int | Sequence[int] = GIB) -> Tenant:
        """Make another tenant of the same machine, which this one stops."""
        other = copy(self)
        other.folder = folder
        folder.mkdir()
        other._make_files(limit_bytes)
        return other

    def close(self) -> None:
        self.limits.close()
        self.usage.close()
        sim.stop(self.machine)

    def devices(self) -> list[dict[str, Any]]:
        """The machine's truth."""
        devices: list[dict[str, Any]] = sim.stat(self.machine)["devices"]
        return devices

    @property
    def room_bytes(self) -> int:
        """What the limit of the first device leaves beside one context."""
        return self.limits.device(0).memory_limit_bytes - self.context_bytes[0]

    def _contexts_bytes(self, profile: str) -> list[int]:
        """What a context takes on each device: measured once, as it is the same on each such machine."""
        if profile not in CONTEXTS_BYTES:
            CONTEXTS_BYTES[profile] = [self._context_bytes(i) for i in range(len(self.devices()))]
            sim.stop(self.machine)
            sim.start(self.machine, profile)  # nothing has happened on it
        return CONTEXTS_BYTES[profile]

    def _context_bytes(self, device: int) -> int:
        self.run(f"start({device}); out(True)", limited=False, CUDA_DEVICE_ORDER="PCI_BUS_ID")
        return max(process["peak_bytes"] for process in self.devices()[device]["processes"])

    def start(self, code: str, *, limited: bool = True, **variables: str) -> subprocess.Popen[str]:
        """Start a Python program; `out(value)` in it writes one line of JSON."""
        return subprocess.Popen(
            [*PYTHON, PREAMBLE + code],
            env={**(self.environ if limited else self.bare), **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, code: str, *, limited: bool = True, **variables: str) -> Any:
        """Run a Python program to its end, and return what it put `out`; it must be silent otherwise."""
        with self.start(code, limited=limited, **variables) as program:
            output, errors = program.communicate(timeout=60)
        assert (program.returncode, errors) == (0, ""), errors
        return json.loads(output)

    def physical_peak(self, device: int = 0) -> int:
        """The most that any one program has ever had of the device."""
        return max((process["peak_bytes"] for process in self.devices()[device]["processes"]), default=0)
