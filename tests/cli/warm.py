"""`gshare` from a process that has imported it already, and forks: the same, in a tenth of the time.

Tests ask for it hundreds of times.  What a start costs, and what it loads, is measured with real ones.
"""

import json
import os
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from tempfile import TemporaryFile

MOST_BYTES = 1 << 18
"""Of a request: arguments and environment."""


class Warm:
    """Runs `gshare`, one at a time."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, __file__, str(theirs.fileno())]
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)

    def run(
        self, arguments: Sequence[str], environment: Mapping[str, str], timeout_s: float
    ) -> subprocess.CompletedProcess[str]:
        """As subprocess.run() would, with nothing to read."""
        request = json.dumps([arguments, dict(environment), os.getcwd()]).encode()
        with TemporaryFile("w+") as out, TemporaryFile("w+") as errors:
            code = self._run(request, [out.fileno(), errors.fileno()], timeout_s)
            out.seek(0)
            errors.seek(0)
            return subprocess.CompletedProcess(["gshare", *arguments], code, out.read(), errors.read())

    def _run(self, request: bytes, said: list[int], timeout_s: float) -> int:
        socket.send_fds(self._channel, [request], said)
        pid = int(self._channel.recv(100))
        self._channel.settimeout(timeout_s)
        try:
            return int(self._channel.recv(100))
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            self._channel.settimeout(None)
            self._channel.recv(100)
            raise AssertionError(f"{request!r}: does not end in {timeout_s} s") from None
        finally:
            self._channel.settimeout(None)

    def close(self) -> None:
        """End it."""
        self._channel.close()
        self._process.wait()


def serve(channel: socket.socket) -> None:
    """Fork for each request; returns in the child, which has been made what it asked for."""
    while True:
        request, said, _, _ = socket.recv_fds(channel, MOST_BYTES, 2)
        if not request:
            sys.exit()
        pid = os.fork()
        if pid == 0:
            break
        for fd in said:
            os.close(fd)
        channel.send(b"%d" % pid)
        _, status = os.waitpid(pid, 0)
        channel.send(b"%d" % os.waitstatus_to_exitcode(status))
    channel.close()
    for fd, standard in zip(said, (1, 2), strict=True):
        os.dup2(fd, standard)
        os.close(fd)
    arguments, environment, folder = json.loads(request)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path[0] = folder
    sys.argv[1:] = arguments


if __name__ == "__main__":
    import gshare.cli.main
    import gshare.cli.run
    import gshare.controller.client  # noqa: F401

    serve(socket.socket(fileno=int(sys.argv[1])))
    runpy.run_module("gshare.cli", run_name="__main__", alter_sys=True)
