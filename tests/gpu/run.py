"""The command behind run.sh: chooses the parts, runs them, and says at the end what became of each."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import datetime, timezone
from importlib.metadata import distributions
from pathlib import Path

from parts import ROOT, STAGES, Setup, all_parts
from runner import Part, Runner, table

GPU_FACTS = (
    "name,driver_version,memory.total,persistence_mode,compute_mode,mig.mode.current,ecc.mode.current,"
    "clocks.sm,clocks.max.sm,clocks.mem,power.limit,temperature.gpu"
)
FRAMEWORKS = (
    *("torch", "torchvision", "triton", "cupy-cuda13x", "cupy-cuda12x", "jax", "jaxlib", "numba"),
    *("numba-cuda", "cuda-bindings", "numpy", "nvidia-nccl-cu13", "nvidia-cuda-nvrtc", "nvidia-ml-py"),
)
SLOW = 3
"""A rehearsal's host may be small and busy: time limits are so many times longer."""


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="tests/gpu/run.sh", description=__doc__)
    add = options.add_argument
    add("out", nargs="?", type=Path, default=Path(os.environ.get("OUT") or "gpu-results"), metavar="OUT")
    add("--sim", action="store_true", help="rehearse on the simulated GPU")
    add("--installed", action="store_true", help="take the gshare that is installed, build nothing")
    add("--site", type=Path, help="build into this folder, or take what was built there from the same tree")
    add("--stage", type=int, action="append", choices=STAGES, help="only this stage (may be repeated)")
    add("--only", action="append", default=[], metavar="PART", help="only this part (may be repeated)")
    add("--within", type=float, metavar="SECONDS", help="time for all; what does not fit is not begun")
    add("--rival", action="append", default=[], metavar="NAME=PATH", help="of the suite (may be repeated)")
    add("--list", action="store_true", help="list the parts with their stages and time limits")
    return options


def chosen(setup: Setup, stages: list[int] | None, only: list[str]) -> list[Part]:
    """The parts asked for, and building whatever is."""
    parts = list(all_parts(setup))
    unknown = set(only) - {part.name for _, part in parts}
    if unknown:
        raise SystemExit(f"no such part: {', '.join(sorted(unknown))}; --list names them")
    wanted = [
        part
        for stage, part in parts
        if stage == 0 or ((not stages or stage in stages) and (not only or part.name in only))
    ]
    names = {part.name for part in wanted}
    needed = {name for part in wanted for name in part.after} - names
    return [part for _, part in parts if part.name in names | needed]


def packages(site: Path | None) -> dict[str, str]:
    """The versions of what is measured, as far as it is installed, where a part would find it."""
    path = [*([str(site)] if site else []), *sys.path]
    found = {name: next(iter(distributions(name=name, path=path)), None) for name in FRAMEWORKS}
    return {name: package.version for name, package in found.items() if package}


def machine(simulated: bool) -> dict[str, object]:
    """When and where: of the GPU what nvidia-smi says of it."""
    answer: dict[str, object] = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "simulated": simulated,
        "host": f"{platform.system()} {platform.release()}, {os.cpu_count()} CPUs",
        "python": platform.python_version(),
    }
    query = ("nvidia-smi", f"--query-gpu={GPU_FACTS}", "--format=csv")
    if not simulated:
        try:
            done = subprocess.run(query, capture_output=True, text=True, check=False, timeout=30)
            answer["gpus"] = done.stdout.strip().splitlines()
        except (OSError, subprocess.TimeoutExpired) as error:
            answer["gpus"] = []
            answer["nvidia-smi"] = str(error)
    return answer


def gpus() -> int:
    """How many devices the driver has; asked by another process, which leaves nothing behind in this one."""
    code = "import ctypes as c; d = c.CDLL('libcuda.so.1'); n = c.c_int(); d.cuInit(0); "
    code += "d.cuDeviceGetCount(c.byref(n)); print(n.value)"
    done = subprocess.run((sys.executable, "-c", code), capture_output=True, text=True, check=False)
    return int(done.stdout) if done.returncode == 0 else 0


def environment(work: Path, site: Path | None, simulated: bool) -> None:
    """For every part: state and caches apart from the user's, and nothing left in the tree."""
    os.environ.update(
        PYTHONUNBUFFERED="1",
        PYTHONDONTWRITEBYTECODE="1",
        GSHARE_RUNTIME_DIR=str(work / "run"),
        GSHARE_STATE_DIR=str(work / "state"),
        SIMGPU_MACHINE=str(work / "machine"),
        TRITON_CACHE_DIR=str(work / "triton"),
        TORCHINDUCTOR_CACHE_DIR=str(work / "inductor"),
        CUPY_CACHE_DIR=str(work / "cupy"),
        PYTHON=sys.executable,
        CUDA_DEVICE_ORDER="PCI_BUS_ID",  # that of NVML
    )
    if site:
        os.environ["PYTHONPATH"] = str(site)
        beside = os.environ.get("LD_LIBRARY_PATH")
        os.environ["LD_LIBRARY_PATH"] = f"{site}/lib" + (f":{beside}" if beside else "")
    if simulated:
        os.environ["GSHARE_GPU_REHEARSAL"] = "1"


def held(stack: ExitStack) -> None:
    """A GPU that no process holds is set up anew for each, which takes seconds: it is held until the end."""
    for path in sorted(Path("/dev").glob("nvidia[0-9]*")):
        with suppress(OSError):
            stack.callback(os.close, os.open(path, os.O_RDWR | os.O_CLOEXEC))


def stop(simulated: bool) -> None:
    for command in ("controller", "stop"), ("sim", "stop"):
        if simulated or command[0] == "controller":
            gshare = (sys.executable, "-m", "gshare.cli", *command)
            with suppress(subprocess.TimeoutExpired):
                subprocess.run(gshare, capture_output=True, check=False, timeout=30)


def main() -> int:
    options = parser().parse_args()
    work = Path(tempfile.mkdtemp(prefix="gshare-gpu-"))
    out = options.out.resolve()
    site = None if options.installed else (options.site or work / "site").resolve()
    setup = Setup(
        python=sys.executable,
        out=out,
        work=work,
        site=site,
        wheels=Path(os.environ.get("WHEELS") or ROOT / "wheels").resolve(),
        recorder=Path(os.environ.get("RECORDER") or ROOT / "recorder").resolve(),
        simulated=options.sim,
        rivals=tuple(options.rival),
    )
    stack = ExitStack()
    try:
        if options.list:
            for stage, part in all_parts(setup):
                print(f"{stage or '-'}  {part.name:<10} {part.limit_s:4.0f} s  {part.what}")
            return 0
        parts = chosen(setup, options.stage, options.only)
        if options.sim:
            parts = [replace(part, limit_s=part.limit_s * SLOW) for part in parts]
        if not options.sim:
            held(stack)
        if not options.sim and not gpus():
            raise SystemExit("the driver has no NVIDIA GPU here; --sim rehearses on the simulated one")
        out.mkdir(parents=True, exist_ok=True)
        environment(work, site, options.sim)
        os.chdir(work)
        (out / "log.txt").write_bytes(b"")
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        runner = Runner(out, out / "log.txt", options.within)
        facts = machine(options.sim)
        well = False
        try:
            well = runner.run(parts)
        except KeyboardInterrupt:
            return 130
        finally:
            facts["packages"] = packages(site)
            (out / "summary.json").write_text(json.dumps(runner.summary(facts), indent=1) + "\n")
            print(f"\n{table(runner.outcomes)}\nresults are in {out}", flush=True)
            stop(options.sim)
        return 0 if well else 1
    finally:
        stack.close()
        os.chdir("/")
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
