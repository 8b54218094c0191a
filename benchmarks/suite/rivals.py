"""How programs are started under other libraries that share a GPU, given by path; no more of them is here."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
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
    listens: Path = Path()
    """Its socket, if it has one that can be known."""
    tells: Sequence[str] = ()
    """A program beside the library that is run once the daemon listens, and its arguments."""
    quits: str = ""
    """What the daemon, started again, is told so that it ends, with all that it has started."""
    turn_s: float = 0
    """One program after another has the device, for so long."""
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
NVSHARE_TURN_S = 1
"""The shortest that its control takes: in turns of 30 s, its default, nobody's p99 is had in a minute."""


def _nvshare(library: Path, ask: Ask, folder: Path, uuid: str) -> dict[str, str]:
    return {"LD_PRELOAD": str(library)}


def _nvshare_missing(library: Path) -> str:
    if os.geteuid() != 0:
        return f"its scheduler listens at {NVSHARE_SOCKET}: root only"
    for name in "nvshare-scheduler", "nvsharectl":
        if not library.with_name(name).exists():
            return f"{name} is not beside {library}"
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
            frozenset({"turns"}),
            _nvshare,
            _nvshare_missing,
            daemon=("nvshare-scheduler",),
            listens=NVSHARE_SOCKET,
            tells=("nvsharectl", f"--set-tq={NVSHARE_TURN_S}"),
            turn_s=NVSHARE_TURN_S,
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
    listens=MPS_FOLDER / "control",
    quits="quit\n",
)
"""NVIDIA's: what is called its library is its daemon."""


def _beside(library: Path, name: str) -> Path:
    path = library.with_name(name)
    return path if path.exists() else library.parent.parent / "bin" / name


def _answers(path: Path) -> bool:
    """Whether somebody listens at that socket."""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError as error:
            return error.errno == errno.EPROTOTYPE  # it has another kind of socket
    return True


def _begun(rival: Rival, library: Path, running: subprocess.Popen[bytes]) -> None:
    """Wait until the daemon listens, and tell it what it needs to know."""
    give_up = time.monotonic() + START_S
    while rival.listens != Path() and not _answers(rival.listens):
        if running.poll() is not None:
            raise GshareError("bench", f"{rival.daemon[0]} ended with {running.returncode}")
        if time.monotonic() > give_up:
            raise GshareError("bench", f"{rival.daemon[0]} does not listen at {rival.listens}")
        time.sleep(0.01)
    if rival.tells:
        name, *arguments = rival.tells
        command = [str(_beside(library, name)), *arguments]
        done = subprocess.run(command, capture_output=True, check=False, timeout=START_S)
        if done.returncode:
            raise GshareError("bench", f"{' '.join(rival.tells)} ended with {done.returncode}")


def _end(rival: Rival, path: Path, running: subprocess.Popen[bytes], environ: Mapping[str, str]) -> None:
    if rival.quits:
        with suppress(subprocess.TimeoutExpired):
            words = rival.quits.encode()
            subprocess.run(
                [path], input=words, env=environ, capture_output=True, check=False, timeout=START_S
            )
    running.terminate()
    try:
        running.wait(START_S)
    except subprocess.TimeoutExpired:
        running.kill()


@contextmanager
def daemon(rival: Rival | None, library: Path) -> Iterator[None]:
    """The program that a rival needs beside the library runs inside the block.

    Raises GshareError where it does not, or where somebody's own does already.
    """
    if rival is None or not rival.daemon:
        yield
        return
    path, environ = _beside(library, rival.daemon[0]), {**os.environ, **rival.daemon_environ}
    if _answers(rival.listens):
        raise GshareError("bench", f"somebody's {path.name} listens at {rival.listens}", "end it first")
    if rival.daemon_environ:
        rival.listens.parent.mkdir(mode=0o700, exist_ok=True)
    null = subprocess.DEVNULL
    command = [str(path), *rival.daemon[1:]]
    try:
        with subprocess.Popen(command, env=environ, stdin=null, stdout=null, stderr=null) as running:
            try:
                _begun(rival, library, running)
                yield
            finally:
                _end(rival, path, running, environ)
    finally:
        if rival.daemon_environ:
            shutil.rmtree(rival.listens.parent, ignore_errors=True)
