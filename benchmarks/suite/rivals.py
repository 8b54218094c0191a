"""How programs are started under other libraries that share a GPU, given by path; no more of them is here."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from gshare.controller.errors import GshareError

START_S = 5.0


@dataclass(frozen=True)
class Ask:
    """What a tenant is to have; None: no limit."""

    memory_bytes: int | None = None
    percent: float | None = None
    weight: int | None = None
    priority: str | None = None


@dataclass(frozen=True)
class Rival:
    name: str
    offers: frozenset[str]
    environ: Callable[[Path, Ask, Path, str], Mapping[str, str]]
    """Of the library, what is asked for, a folder of the tenant's own, and the device's UUID."""
    missing: Callable[[Path], str] = lambda library: ""
    """Why it cannot run here."""
    one_tenant: str = ""
    """Why several tenants cannot be measured."""
    daemon: Sequence[str] = ()
    """A program beside the library that must run, and its arguments."""
    daemon_environ: Mapping[str, str] = field(default_factory=dict)
    socket: Path = Path()
    """Where it says that it does."""
    on_virtual_clock: bool = True
    """Else its programs wait for sockets."""


def _mib(ask: Ask) -> str:
    return f"{(ask.memory_bytes or 0) >> 20}m"


HAMI_LOCKS = Path("/tmp/vgpulock")


def _hami(library: Path, ask: Ask, folder: Path, uuid: str) -> dict[str, str]:
    HAMI_LOCKS.mkdir(exist_ok=True)
    found = {
        "LD_PRELOAD": str(library),
        "CUDA_REDIRECT": str(library),
        "CUDA_DEVICE_MEMORY_SHARED_CACHE": str(folder / "hami.cache"),
        "GPU_CORE_UTILIZATION_POLICY": "force",
        "LIBCUDA_LOG_LEVEL": "0",
    }
    if ask.memory_bytes:
        found["CUDA_DEVICE_MEMORY_LIMIT"] = _mib(ask)
    if ask.percent:
        found["CUDA_DEVICE_SM_LIMIT"] = f"{ask.percent:.0f}"
    return found


VGPU_CONFIG = Path("/etc/vgpu-manager/config/vgpu.config")
VGPU_MARK = VGPU_CONFIG.with_name("gshare-bench")
"""Ours: the configuration beside it was written by programs of a benchmark."""


def _vgpu(library: Path, ask: Ask, folder: Path, uuid: str) -> dict[str, str]:
    VGPU_MARK.parent.mkdir(parents=True, exist_ok=True)
    VGPU_MARK.touch()
    mark = folder / "vgpu"
    if not mark.exists():  # the first process of a tenant writes its limits there, later ones read them
        VGPU_CONFIG.unlink(missing_ok=True)
        mark.touch()
    found = {"LD_PRELOAD": str(library), "NVIDIA_VISIBLE_DEVICES": uuid, "LOGGER_LEVEL": "0"}
    if ask.memory_bytes:
        found["CUDA_MEM_LIMIT"] = _mib(ask)
    if ask.percent:
        found |= {"CUDA_CORE_LIMIT": f"{ask.percent:.0f}", "CUDA_SM_CONTROLLER": "delta"}
    return found


def _vgpu_missing(library: Path) -> str:
    if os.geteuid() != 0:
        return f"it keeps its limits in {VGPU_CONFIG}: root only"
    if VGPU_CONFIG.exists() and not VGPU_MARK.exists():
        return f"{VGPU_CONFIG} is somebody's"
    return ""


NVSHARE_SOCKET = Path("/var/run/nvshare/scheduler.sock")


def _nvshare(library: Path, ask: Ask, folder: Path, uuid: str) -> dict[str, str]:
    return {"LD_PRELOAD": str(library)}


def _nvshare_missing(library: Path) -> str:
    if os.geteuid() != 0:
        return f"its scheduler listens at {NVSHARE_SOCKET}: root only"
    if not library.with_name("nvshare-scheduler").exists():
        return f"nvshare-scheduler is not beside {library}"
    return ""


def _xsched(library: Path, ask: Ask, folder: Path, uuid: str) -> dict[str, str]:
    return {
        "LD_PRELOAD": str(library),
        "XSCHED_SCHEDULER": "GLB",
        "XSCHED_AUTO_XQUEUE": "ON",
        "XSCHED_AUTO_XQUEUE_LEVEL": "1",
        "XSCHED_AUTO_XQUEUE_PRIORITY": {"high": "2", "low": "0"}.get(ask.priority or "", "1"),
    }


def _xsched_missing(library: Path) -> str:
    beside = [library.with_name("xserver"), library.parent.parent / "bin" / "xserver"]
    return "" if any(path.exists() for path in beside) else f"xserver is not beside {library}"


RIVALS = {
    rival.name: rival
    for rival in (
        Rival("hami", frozenset({"memory", "compute", "tenants"}), _hami),
        Rival(
            "vgpu-manager",
            frozenset({"memory", "compute"}),
            _vgpu,
            _vgpu_missing,
            one_tenant="not applicable: it knows tenants by their containers, and none are started here",
        ),
        Rival(
            "nvshare",
            frozenset(),
            _nvshare,
            _nvshare_missing,
            daemon=("nvshare-scheduler",),
            socket=NVSHARE_SOCKET,
            on_virtual_clock=False,
        ),
        Rival(
            "xsched",
            frozenset({"priority"}),
            _xsched,
            _xsched_missing,
            daemon=("xserver", "HPF", "50000"),
            on_virtual_clock=False,
        ),
    )
}

MPS_FOLDER = Path(tempfile.gettempdir(), f"gshare-bench-mps-{os.getpid()}")
"""A daemon of its own, so that nobody else's is touched."""
MPS_ENVIRON = {f"CUDA_MPS_{what}_DIRECTORY": str(MPS_FOLDER) for what in ("PIPE", "LOG")}


def _mps(library: Path, ask: Ask, folder: Path, uuid: str) -> dict[str, str]:
    found = dict(MPS_ENVIRON)
    if ask.percent:
        found["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] = f"{ask.percent:g}"
    if ask.memory_bytes:
        found["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] = f"0={ask.memory_bytes >> 20}M"
    return found


MPS = Rival(
    "mps",
    frozenset({"memory", "compute"}),
    _mps,
    daemon=("nvidia-cuda-mps-control", "-f"),
    daemon_environ=MPS_ENVIRON,
    socket=MPS_FOLDER / "control",
)
"""NVIDIA's: what is called its library is its daemon."""


@contextmanager
def daemon(rival: Rival | None, library: Path) -> Iterator[None]:
    """The program that a rival needs beside the library runs inside the block."""
    if rival is None or not rival.daemon:
        yield
        return
    name, *arguments = rival.daemon
    path = library.with_name(name)
    path = path if path.exists() else library.parent.parent / "bin" / name
    if rival.daemon_environ:
        rival.socket.parent.mkdir(mode=0o700, exist_ok=True)
    with subprocess.Popen(
        [str(path), *arguments],
        env={**os.environ, **rival.daemon_environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as running:
        try:
            give_up = time.monotonic() + START_S
            while rival.socket != Path() and not rival.socket.exists() and time.monotonic() < give_up:
                time.sleep(0.01)
            if running.poll() is not None:
                raise GshareError("bench", f"{path} ended with {running.returncode}")
            yield
        finally:
            running.terminate()
            if rival.daemon_environ:
                shutil.rmtree(rival.socket.parent, ignore_errors=True)
