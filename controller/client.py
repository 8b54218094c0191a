"""Asks the controller, and starts one where there is none.  Every `gshare run` pays for what this imports."""

import os
import time
from types import ModuleType

import zmq

from gshare.controller import wire
from gshare.controller.errors import ControllerUnreachable, GshareError, UsageError
from gshare.controller.lock import controller_lives, controller_pid
from gshare.controller.paths import Runtime, runtime
from gshare.controller.protocol import Request
from gshare.controller.replies import Fault, Reply
from gshare.controller.wire import BadMessage

REQUEST_TIMEOUT_S = 5.0
ADMISSION_TIMEOUT_S = 40.0
"""The first admission on a device waits until a context has been measured there."""

ATTEMPTS = 3
"""A controller may end between our look and our question: then the next one is asked."""

POLL_MS = 100

HOST_VARIABLE = "GSHARE_HOST"
"""Names another machine's controller: see remote.py."""

RESTART_S = 3.0
"""The machine's controller may be on its way back: it is upgraded, or was killed."""


class Client:
    """A way to ask the controller of one runtime directory."""

    def __init__(self, where: Runtime | None = None, *, start: bool = True, patient: bool = True) -> None:
        """`start`: one of the user's own, where there is none; `patient`: wait for the machine's."""
        host = os.environ.get(HOST_VARIABLE) if where is None else None
        self._host = _remote().parse_host(host) if host else None
        self.runtime = where or runtime()
        self._start = start
        self._patient = patient

    def ask(self, request: Request, timeout_s: float = REQUEST_TIMEOUT_S) -> Reply:
        """Send one request and return its reply; raise the error that came instead.

        Raises ControllerUnreachable where there is none and none can be started, or it does not answer.
        """
        deadline = time.monotonic() + timeout_s
        for message in range(1, ATTEMPTS + 1):
            if not self._lives():
                self._start_one()
            reply = self._ask_once(message, request, deadline)
            if isinstance(reply, Fault):
                raise wire.error_of(reply)
            if reply is not None:
                return reply
        raise ControllerUnreachable("controller", "ends before it answers", f"see {self.runtime.logged}")

    def _lives(self) -> bool:
        """Another machine's is asked as if it did: whether it does shows in its answer."""
        return self._host is not None or lives(self.runtime)

    def _start_one(self) -> None:
        if self.runtime.machine_wide:
            deadline = time.monotonic() + RESTART_S
            while self._patient and time.monotonic() < deadline:
                if lives(self.runtime):
                    return
                time.sleep(0.02)
            raise ControllerUnreachable(
                "the machine's controller",
                "does not run",
                "systemctl start gshare, as root",
            )
        if not self._start:
            raise ControllerUnreachable(
                "controller", "does not run", "gshare controller start, or any gshare run"
            )
        from gshare.controller.launch import start_controller

        start_controller(self.runtime)

    def _ask_once(self, message: int, request: Request, deadline: float) -> Reply | None:
        """One question; None: the controller ended meanwhile."""
        try:
            packed = wire.pack(message, request)
        except (OverflowError, UnicodeEncodeError):
            raise UsageError("request", "a name in it is no text, or a number too large") from None
        with zmq.Context() as context, context.socket(zmq.DEALER) as asking:
            asking.setsockopt(zmq.LINGER, 0)
            asking.setsockopt(zmq.RECONNECT_IVL, 10)
            asking.setsockopt(zmq.MAXMSGSIZE, wire.MAX_REPLY_BYTES)
            if self._host:
                _remote().protect_client(asking, self._host)
                asking.setsockopt(zmq.RECONNECT_IVL, 100)
            asking.connect(self._host.address if self._host else f"ipc://{self.runtime.socket}")
            asking.send(packed)
            while time.monotonic() < deadline:
                if not asking.poll(POLL_MS):
                    if not self._lives():
                        return None
                    continue
                try:
                    number, reply = wire.unpack_reply(asking.recv())
                except BadMessage as error:
                    hint = "gshare controller upgrade; tenants keep their limits"
                    raise GshareError("controller", str(error), hint) from None
                if number == message:
                    return reply
        if self._host:
            raise ControllerUnreachable(
                self._host.address,
                "does not answer",
                "its administrator has to know your gshare controller key",
            )
        if self.runtime.machine_wide:
            raise ControllerUnreachable(
                "the machine's controller", "does not answer", f"see {self.runtime.logged}"
            )
        pid = controller_pid(self.runtime.lock)
        raise ControllerUnreachable(
            "controller", f"pid {pid} does not answer", f"kill -9 {pid} is safe: tenants keep their limits"
        )


def _remote() -> ModuleType:
    """What only who asks another machine pays for."""
    from gshare.controller import remote

    return remote


def lives(where: Runtime) -> bool:
    """Whether there is a controller; the machine's lets no user look at its lock, who could take it."""
    if not where.machine_wide:
        return controller_lives(where.lock)
    import socket  # which other runs need not pay for

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(where.socket))
        except BlockingIOError:
            return True  # many ask at once
        except OSError:
            return False
    return True


def own_start_ticks() -> int:
    """When this process started, as admission wants it."""
    with open("/proc/self/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[19])
