"""`gshare doctor`: what works here, and why not.  Each check is tried, not assumed."""

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import msgspec

from gshare.cli.kernel_locks import locks_die_with_their_process_only
from gshare.cli.options import json_option
from gshare.cli.render import print_json
from gshare.controller import protocol
from gshare.controller.client import Client
from gshare.controller.devices import nvml
from gshare.controller.errors import ControllerUnreachable, GshareError
from gshare.controller.lock import controller_lives
from gshare.controller.paths import runtime
from gshare.controller.protocol import GetStatus
from gshare.controller.replies import Status
from gshare.shim import LIBRARY, abi

PROBE = (sys.executable, "-m", "gshare.cli.probe")
CHILD_TIMEOUT_S = 60
QUOTA_BYTES = 2 << 30

GOOD, NOTE, BAD = "ok", "note", "bad"


class Finding(msgspec.Struct, frozen=True):
    """One check: what was looked at, ok, note or bad, what was seen, and what to do."""

    check: str
    state: str
    detail: str
    hint: str = ""


class Report(msgspec.Struct, frozen=True, tag="gshare/doctor/v1", tag_field="schema"):
    """All findings; `ok` is false when one of them is bad."""

    ok: bool
    simulated: bool
    findings: list[Finding]


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Say what works here and why not; exit code 1 if something does not."""
    simulated = not nvml.devices()
    findings: list[Finding] = []
    for check in CHECKS:
        for finding in check(simulated):
            findings.append(finding)
            if not as_json:
                hint = f" ({finding.hint})" if finding.hint else ""
                click.echo(f"{finding.state:<5} {finding.check:<14} {finding.detail}{hint}")
    ok = all(finding.state != BAD for finding in findings)
    if as_json:
        print_json(Report(ok, simulated, findings))
    if not ok:
        raise SystemExit(1)


def check_versions(simulated: bool) -> Iterator[Finding]:
    libc = " ".join(platform.libc_ver())
    yield Finding(
        "versions",
        GOOD,
        f"gshare {version('gshare')}, protocol {protocol.VERSION}, ABI {abi.VERSION}, "
        f"Python {platform.python_version()}, {libc}, Linux {platform.release()}",
    )


def check_library(simulated: bool) -> Iterator[Finding]:
    if not LIBRARY.exists():
        yield Finding("library", BAD, f"{LIBRARY} is not there", "install gshare again, with gcc")
        return
    child = _child(["true"], {"LD_PRELOAD": str(LIBRARY)})
    if child.returncode or child.stderr or child.stdout:
        said = " ".join((child.stderr or child.stdout).split())
        yield Finding("library", BAD, f"preloaded into true: exit code {child.returncode}, {said}")
    else:
        yield Finding("library", GOOD, f"{LIBRARY} preloads into a program and leaves it alone")


def check_locks(simulated: bool) -> Iterator[Finding]:
    if locks_die_with_their_process_only():
        yield Finding(
            "kernel locks", GOOD, "a process's lock survives close and fork, and ends with the process"
        )
    else:
        hint = "memory of killed programs would not come back: use another kernel"
        yield Finding("kernel locks", BAD, "OFD locks do not last exactly as long as their process", hint)


def check_controller(simulated: bool) -> Iterator[Finding]:
    try:
        where = runtime()
        where.create()
        if not controller_lives(where.lock):
            yield Finding(
                "controller", NOTE, f"none runs in {where.directory}; the first gshare run starts one"
            )
            return
        status = Client(where, start=False).ask(GetStatus())
    except ControllerUnreachable as error:
        yield Finding("controller", BAD, error.why, error.hint)
    except GshareError as error:
        yield Finding("controller", BAD, f"{error.what}: {error.why}", error.hint)
    else:
        assert isinstance(status, Status)
        yield Finding(
            "controller", GOOD, f"pid {status.controller.pid} answers on {status.controller.socket}"
        )


def check_driver(simulated: bool) -> Iterator[Finding]:
    seen = _probe({})
    if not seen.get("driver"):
        yield Finding(
            "driver", NOTE, "no libcuda.so.1: this machine has no NVIDIA driver", "--sim works without"
        )
    elif "error" in seen:
        yield Finding("driver", BAD, f"{seen['driver']}: {seen['error']}", "does nvidia-smi work?")
    else:
        major, minor = divmod(seen["version"], 1000)
        count = len(seen["memory_bytes"])
        yield Finding("driver", GOOD, f"{seen['driver']}: CUDA {major}.{minor // 10}, {count} devices")
    names = ", ".join(f"GPU {device.index} {device.name}" for device in nvml.devices())
    if nvml.silent:
        yield Finding("GPU", BAD, "NVML does not answer", "does nvidia-smi work?")
        return
    yield (
        Finding("GPU", GOOD, names)
        if names
        else Finding("GPU", NOTE, "NVML lists none", "what follows is tried on the simulated one")
    )


def check_limits(simulated: bool) -> Iterator[Finding]:
    """The proof: a child under a quota, on the GPU or the simulated one, in a gshare of its own."""
    where = "the simulated GPU" if simulated else "the GPU"
    with tempfile.TemporaryDirectory(prefix="gshare-") as folder:
        environment = {
            "GSHARE_RUNTIME_DIR": f"{folder}/run",
            "GSHARE_STATE_DIR": f"{folder}/state",
            "SIMGPU_MACHINE": f"{folder}/machine",
        }
        gshare = [sys.executable, "-m", "gshare.cli"]
        sim = ["--sim"] if simulated else []
        child = _child([*gshare, "run", *sim, "--mem", str(QUOTA_BYTES), "--", *PROBE], environment)
        _child([*gshare, "controller", "stop"], environment)
        if simulated:
            _child([*gshare, "sim", "stop"], environment)
    if child.returncode:
        yield Finding(
            "gshare run", BAD, f"on {where}: exit code {child.returncode}: {' '.join(child.stderr.split())}"
        )
        return
    seen = json.loads(child.stdout)
    strays = {road: name for road, name in seen["roads"].items() if name != LIBRARY.name}
    if strays or not seen["roads"]:
        went = (
            ", ".join(f"{road} ends in {name or 'nothing'}" for road, name in strays.items())
            or "no road found"
        )
        yield Finding(
            "hooks", BAD, f"in a child on {where}: {went}", "something else changes how symbols are found"
        )
    else:
        yield Finding(
            "hooks", GOOD, f"in a child on {where}: {', '.join(seen['roads'])} end in {LIBRARY.name}"
        )
    totals = seen.get("memory_bytes", [])
    if totals and all(total == QUOTA_BYTES for total in totals):
        yield Finding("limits", GOOD, f"a child with --mem 2G sees {QUOTA_BYTES} bytes on {where}")
    else:
        yield Finding("limits", BAD, f"a child with --mem 2G on {where} sees {totals or seen.get('error')}")


CHECKS: tuple[Callable[[bool], Iterator[Finding]], ...] = (
    check_versions,
    check_library,
    check_locks,
    check_controller,
    check_driver,
    check_limits,
)


def _probe(environment: dict[str, str]) -> dict[str, Any]:
    child = _child(PROBE, environment)
    try:
        seen: dict[str, Any] = json.loads(child.stdout)
    except ValueError:
        return {"driver": "libcuda.so.1", "error": f"the probe ended with {child.returncode}: {child.stderr}"}
    return seen


def _child(command: Sequence[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, outside of whatever tenant we are in ourselves."""
    from gshare.controller.launch import controller_environment

    return subprocess.run(
        command,
        env=controller_environment(dict(os.environ)) | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=CHILD_TIMEOUT_S,
        check=False,
        cwd=Path("/"),
    )
