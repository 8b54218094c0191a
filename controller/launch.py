"""Starts a controller in the background: nobody's child, in nobody's terminal, holding nobody's files.

Nor has it the signals that somebody ignores or holds back.
"""

import os
import select
import signal
import sys
from contextlib import suppress

from gshare.controller.errors import ControllerUnreachable
from gshare.controller.files import open_log
from gshare.controller.paths import Runtime
from gshare.shim import LIBRARY, TENANT_DIR_VARIABLE

START_TIMEOUT_S = 10.0


def start_controller(where: Runtime, *options: str) -> None:
    """Start a controller and wait until it hears; if two start at once, one stays, and both callers go on.

    Raises ControllerUnreachable, with the controller's own words, where it does not come up.
    """
    where.create()
    log = open_log(where.log)
    reading, writing = os.pipe()
    # Not a child of ours: `gshare run` becomes the program, which must not find a child it never made.
    child = os.fork()
    if child == 0:
        _become_controller(log, writing, options)
    os.close(log)
    os.close(writing)
    with suppress(ChildProcessError):  # where SIGCHLD is ignored, which has been waited for, too
        os.waitpid(child, 0)
    try:
        outcome = _read_all(reading)
    finally:
        os.close(reading)
    if outcome != "ready":
        raise ControllerUnreachable(
            "controller", f"did not start: {outcome or 'no answer'}", f"see {where.log}"
        )


def controller_environment(environ: dict[str, str]) -> dict[str, str]:
    """`environ` without what makes a process a tenant's: the controller sees the machine as it is."""
    cleaned = {
        name: value
        for name, value in environ.items()
        if name not in (TENANT_DIR_VARIABLE, "CUDA_VISIBLE_DEVICES")
    }
    simulator = str(LIBRARY.parent / "sim")
    for name, ours in (("LD_PRELOAD", str(LIBRARY)), ("LD_LIBRARY_PATH", simulator)):
        others = [
            entry for entry in cleaned.get(name, "").replace(" ", ":").split(":") if entry and entry != ours
        ]
        cleaned.pop(name, None)
        if others:
            cleaned[name] = ":".join(others)
    return cleaned


def _become_controller(log: int, ready: int, options: tuple[str, ...]) -> None:
    """In the child: leave the session, let go of the parent, and be the controller; never returns."""
    try:
        os.setsid()
        for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:  # which Python ignores
            if signal.getsignal(number) is signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if os.fork():
            os._exit(0)
        os.chdir("/")
        nothing = os.open(os.devnull, os.O_RDONLY)
        for target, source in ((0, nothing), (1, log), (2, log)):
            os.dup2(source, target)
        for entry in os.listdir("/proc/self/fd"):
            if int(entry) > 2 and int(entry) != ready:
                _close(int(entry))
        os.set_inheritable(ready, True)
        arguments = [sys.executable, "-m", "gshare.controller", "--ready-fd", str(ready), *options]
        os.execve(sys.executable, arguments, controller_environment(dict(os.environ)))
    finally:
        os._exit(1)


def _close(descriptor: int) -> None:
    try:
        os.close(descriptor)
    except OSError:
        return  # the descriptor of the listing itself


def _read_all(descriptor: int) -> str:
    """What the controller says until it closes the pipe, or until it has had its time."""
    said = b""
    while select.select([descriptor], [], [], START_TIMEOUT_S)[0]:
        part = os.read(descriptor, 4096)
        if not part:
            break
        said += part
    return said.decode(errors="replace")
