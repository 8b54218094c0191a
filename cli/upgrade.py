"""`gshare controller upgrade`: the controller that is installed now takes the place of the one that runs."""

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import click

from gshare.controller.client import Client, lives
from gshare.controller.errors import ControllerUnreachable, GshareError, NotPermitted
from gshare.controller.install import SERVICE
from gshare.controller.launch import start_controller
from gshare.controller.lock import controller_lives, controller_pid
from gshare.controller.paths import MACHINE_DIRECTORY, Runtime, runtime
from gshare.controller.protocol import GetStatus
from gshare.controller.replies import Status

PATIENCE_S = 5.0


@click.command()
def upgrade() -> None:
    """Replace the running controller by the one that is installed now; programs do not notice.

    Tenants keep their limits meanwhile, and the new controller adopts them; who asks for something waits.
    """
    where = runtime()
    if not lives(where):
        raise ControllerUnreachable("controller", "does not run", "gshare controller start")
    if os.stat(where.directory).st_uid != os.geteuid():
        raise NotPermitted("controller upgrade", "is for who started it", "sudo gshare controller upgrade")
    before = _status(where)
    if _is_service(where):
        _restart()
    else:
        _replace(where)
    after = _status(where)
    if after is None:
        raise ControllerUnreachable("controller", "does not answer after the upgrade", f"see {where.logged}")
    old = f"{before.controller.version}, pid {before.controller.pid}" if before else "another version"
    new = f"{after.controller.version}, pid {after.controller.pid}"
    click.echo(f"controller upgraded: {old} → {new}; {after.tenants} tenants go on")


def _status(where: Runtime) -> Status | None:
    """None: it speaks another version of the protocol, or does not answer."""
    with suppress(GshareError):
        reply = Client(where, start=False, patient=False).ask(GetStatus())
        assert isinstance(reply, Status)
        return reply
    return None


def _is_service(where: Runtime) -> bool:
    if str(where.directory) != MACHINE_DIRECTORY or not Path("/run/systemd/system").is_dir():
        return False
    active = subprocess.run(["systemctl", "is-active", "--quiet", SERVICE], check=False)
    return active.returncode == 0


def _restart() -> None:
    done = subprocess.run(["systemctl", "restart", SERVICE], capture_output=True, text=True, check=False)
    if done.returncode:
        raise GshareError("controller upgrade", done.stderr.strip(), "journalctl -u gshare")


def _replace(where: Runtime) -> None:
    """End the one that runs, whatever protocol it speaks, and start another."""
    pid = controller_pid(where.lock)
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            if pid and controller_lives(where.lock):
                os.kill(pid, number)
        deadline = time.monotonic() + PATIENCE_S
        while controller_lives(where.lock) and time.monotonic() < deadline:
            time.sleep(0.01)
    start_controller(where, *(["--machine-wide"] if where.machine_wide else []))
