"""`gshare cdi`: what podman, Docker and Kubernetes need to run a container as a tenant.

A CDI device is a tenant, by its name.  The container finds the library, an /etc/ld.so.preload that names it,
and the tenant's directory at /run/gshare/self, all mounted: no environment can undo that.  The tenant must
run, or the container does not start: `gshare run --tenant NAME podman run --device gshare.dev/gpu=NAME …`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import click

from gshare.cli.render import print_json
from gshare.cli.strict import PRELOAD
from gshare.controller.client import Client
from gshare.controller.errors import ControllerUnreachable, GshareError, NoSuchThing, UsageError
from gshare.controller.files import cannot_write, write_text
from gshare.controller.mounts import SELF
from gshare.controller.paths import Runtime, runtime, state_directory
from gshare.controller.protocol import GetProcesses, GetQuotas
from gshare.controller.replies import Processes, Quotas
from gshare.controller.units import parse_tenant
from gshare.shim import LIBRARY, TENANT_DIR_VARIABLE

VERSION = "0.5.0"
"""The lowest that has what is needed: runtimes leave out specs of versions that they do not know."""

KIND = "gshare.dev/gpu"
INSIDE = f"/usr/local/gshare/{LIBRARY.name}"
DEVICE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.:-]*[A-Za-z0-9])?")
READ_ONLY = ["ro", "nosuid", "nodev", "bind"]
WRITABLE = ["rw", "nosuid", "nodev", "noexec", "bind"]
PRELOAD_NAME = "container.ld.so.preload"


@click.group()
def cdi() -> None:
    """Containers: a CDI specification for podman, Docker and Kubernetes."""


@cdi.command()
@click.argument("tenants", nargs=-1, metavar="[TENANT]...")
@click.option("--output", metavar="FILE", help="Write it there, as /etc/cdi/gshare.json.")
@click.option("--sim", is_flag=True, help="With the simulated GPU in it.")
def generate(tenants: tuple[str, ...], output: str | None, sim: bool) -> None:
    """Print a specification with a device for each TENANT, permanent or running, or for every permanent one.

    The container's tenant must run: gshare run --tenant NAME podman run --device gshare.dev/gpu=NAME ...
    """
    for name in tenants:
        parse_tenant(name)
        if not DEVICE.fullmatch(name):
            raise UsageError(
                f"tenant {name}", "is no name for a CDI device", "letters, digits, and _ - . inside"
            )
    if tenants:
        _check(tenants)
    else:
        tenants = tuple(name for name in _permanent() if DEVICE.fullmatch(name))
        if not tenants:
            raise UsageError(
                "cdi generate", "there is no permanent tenant", "name tenants, or gshare quota set"
            )
    found = specification(runtime(), tenants, _preload(), _simulator() if sim else {})
    if output is None:
        print_json(found)
        return
    import json

    try:
        os.makedirs(os.path.dirname(output) or ".", exist_ok=True)
        write_text(Path(output), json.dumps(found, indent=2) + "\n")
        os.chmod(output, 0o644)
    except OSError as error:
        raise cannot_write(Path(output), error) from None


def _permanent() -> list[str]:
    reply = Client().ask(GetQuotas(""))
    assert isinstance(reply, Quotas)
    return [quota.tenant for quota in reply.quotas]


def _check(tenants: tuple[str, ...]) -> None:
    """Raise NoSuchThing for a tenant that there is not, where a controller tells which there are."""
    try:
        running = Client().ask(GetProcesses())
        assert isinstance(running, Processes)
        known = {*_permanent(), *(process.tenant for process in running.processes)}
    except ControllerUnreachable:
        return
    for name in tenants:
        if name not in known:
            hint = f"gshare quota set {name}, or gshare run --tenant {name} first"
            raise NoSuchThing(f"tenant {name}", "is not permanent, and does not run", hint)


def specification(
    where: Runtime, tenants: tuple[str, ...], preload: Path, simulator: dict[str, Any]
) -> dict[str, Any]:
    """The whole specification."""
    mounts = [_mount(LIBRARY, INSIDE, READ_ONLY), _mount(preload, PRELOAD, READ_ONLY)]
    edits = {"mounts": mounts + simulator.get("mounts", [])}
    if simulator:
        edits["env"] = simulator["env"]
    return {
        "cdiVersion": VERSION,
        "kind": KIND,
        "containerEdits": edits,
        "devices": [
            {
                "name": name,
                "containerEdits": {
                    "env": [f"{TENANT_DIR_VARIABLE}={where.tenants / name}"],
                    "mounts": [_mount(where.tenants / name, SELF, WRITABLE)],
                },
            }
            for name in tenants
        ],
    }


def _mount(host: Path | str, container: str, options: list[str]) -> dict[str, Any]:
    return {"hostPath": str(host), "containerPath": container, "options": options}


def _preload() -> Path:
    """A file for every container, which names the library as it is there."""
    path = state_directory(machine_wide=runtime().machine_wide) / PRELOAD_NAME
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, INSIDE + "\n")
        path.chmod(0o644)
    except OSError as error:
        raise GshareError(str(path), f"cannot be written: {error.strerror}") from None
    return path


def _simulator() -> dict[str, Any]:
    from gshare.shim import sim

    found = sim.environment()
    libraries, machine = found["LD_LIBRARY_PATH"].split(":")[0], found["SIMGPU_MACHINE"]
    return {
        "env": [f"LD_LIBRARY_PATH={libraries}", f"SIMGPU_MACHINE={machine}"],
        "mounts": [_mount(libraries, libraries, READ_ONLY), _mount(machine, machine, WRITABLE)],
    }


COMMAND = cdi
