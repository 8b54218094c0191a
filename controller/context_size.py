"""How much device memory one context takes: measured once per device name and driver, then remembered.

The measurement is a child process that makes a context and looks itself up in NVML.  It never is a difference
of free memory: another process may allocate meanwhile.
"""

import asyncio
import ctypes
import json
import os
import sys
from contextlib import suppress
from pathlib import Path

from gshare.controller.devices import Found, passing_machine, simulated_devices
from gshare.controller.errors import GshareError
from gshare.controller.files import read_json, write_json

SCHEMA = "gshare/contexts/v1"

FALLBACK_BYTES = 768 << 20
"""Taken for a context where it could not be measured: more than contexts of current drivers take."""

GRAIN_BYTES = 2 << 20
"""Real contexts are rounded up to this: NVML reports whole pages, the driver takes whole blocks."""

HEADROOM_BYTES = 32 << 20
"""Charged with each context of a real device, for what its driver adds later and tells nobody: pieces of
memory for code that modules do not fill, channels of streams and green contexts."""

PROBE_TIMEOUT_S = 20.0


class ContextSizes:
    """Context sizes by device name and driver, kept in the state directory."""

    def __init__(self, state_directory: Path) -> None:
        self._path = state_directory / "contexts.json"
        self._one_at_a_time = asyncio.Lock()
        self._measured: dict[str, int] = {}
        with suppress(GshareError):  # only a cache: measure again
            stored = read_json(self._path).get("context_bytes")
            stored = stored if isinstance(stored, dict) else {}
            self._measured = {name: size for name, size in stored.items() if type(size) is int and size > 0}
        self._sizes = dict(self._measured)

    def known(self, device: Found) -> int:
        """Upper bound in bytes, as far as it is known by now."""
        size = self._sizes.get(_key(device), FALLBACK_BYTES)
        return size + HEADROOM_BYTES if _key(device) in self._measured else size

    async def measure(self, device: Found) -> None:
        """Measure what is not known yet; a device that cannot be measured has the fallback until we end."""
        async with self._one_at_a_time:
            if _key(device) in self._sizes:
                return
            if device.simulated:  # quick to ask, and as long-lived as this gshare: not written down
                with passing_machine(device.profile) as machine:
                    twin = simulated_devices(machine)[0]
                    self._sizes[_key(device)] = await _probe(twin) or FALLBACK_BYTES
                return
            size = await _probe(device)
            self._sizes[_key(device)] = -(-size // GRAIN_BYTES) * GRAIN_BYTES if size else FALLBACK_BYTES
            if size:
                self._measured[_key(device)] = self._sizes[_key(device)]
                with suppress(GshareError):
                    write_json(self._path, {"schema": SCHEMA, "context_bytes": self._measured})


def _key(device: Found) -> str:
    return f"{device.name} {device.driver}"


async def _probe(device: Found) -> int | None:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": device.uuid}
    if device.simulated:
        from gshare.shim import sim

        environment |= sim.environment(machine=device.machine)
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gshare.controller.context_size", device.uuid),
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        output, _ = await asyncio.wait_for(child.communicate(), PROBE_TIMEOUT_S)
        size = json.loads(output)["context_bytes"]
    except (asyncio.TimeoutError, ValueError, KeyError, TypeError):
        return None
    finally:
        if child.returncode is None:
            with suppress(ProcessLookupError):
                child.kill()
            await child.wait()
    return size if isinstance(size, int) and size > 0 else None


def measure_here(uuid: str) -> int | None:
    """Make a context on the only visible device and return what NVML says it takes, in bytes."""
    import pynvml

    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
    before = {process.pid for process in pynvml.nvmlDeviceGetComputeRunningProcesses(handle)}
    driver = ctypes.CDLL("libcuda.so.1")
    device, context = ctypes.c_int(), ctypes.c_void_p()
    for result in (
        driver.cuInit(0),
        driver.cuDeviceGet(ctypes.byref(device), 0),
        driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device),
        driver.cuCtxSetCurrent(context),
        driver.cuCtxSynchronize(),
    ):
        if result != 0:
            return None
    after = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    # In a container NVML shows us under another pid: then we are the one process that is new.
    own = [process for process in after if process.pid == os.getpid()] or [
        process for process in after if process.pid not in before
    ]
    return own[0].usedGpuMemory if len(own) == 1 else None


if __name__ == "__main__":
    print(json.dumps({"context_bytes": measure_here(sys.argv[1])}))
