"""Programs that do what a test tells them, line by line, so that several processes can take turns."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import Any

from simulated import Machine, line

HELP = """
import ctypes, socket
class Handle(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_ubyte * 64)]
def export(pointer):
    handle = Handle(); code = call("cuIpcGetMemHandle", ctypes.byref(handle), pointer)
    return code, bytes(handle).hex()
def export_event(event):
    handle = Handle(); code = call("cuIpcGetEventHandle", ctypes.byref(handle), event)
    return code, bytes(handle).hex()
def handle_of(text): return Handle.from_buffer_copy(bytes.fromhex(text))
def open_memory(text, flags=1):
    pointer = u64(); code = cuda.cuIpcOpenMemHandle_v2(ctypes.byref(pointer), handle_of(text), flags)
    return code, pointer.value
def open_event(text):
    event = u64(); code = cuda.cuIpcOpenEventHandle(ctypes.byref(event), handle_of(text))
    return code, event.value
def listen(path):
    global listener
    listener = socket.socket(socket.AF_UNIX); listener.bind(path); listener.listen()
def take():
    peer = listener.accept()[0]
    return socket.recv_fds(peer, 1, 1)[1][0]
def give(path, fd):
    peer = socket.socket(socket.AF_UNIX); peer.connect(path)
    socket.send_fds(peer, [b"x"], [fd]); peer.close()
start(); out(os.getpid())
while True:
    said = sys.stdin.readline()
    if not said: break
    out(eval(said) if not said.startswith("!") else exec(said[1:], globals()))
"""


class Program:
    """A process on the machine that does what it is told, line by line."""

    def __init__(self, machine: Machine, **variables: str) -> None:
        self.machine = machine
        self.process: subprocess.Popen[str] = machine.start(HELP, **variables)
        self.pid = line(self.process)

    def __call__(self, expression: str) -> Any:
        assert self.process.stdin is not None
        assert "\n" not in expression
        self.process.stdin.write(expression + "\n")
        self.process.stdin.flush()
        return line(self.process)

    def do(self, *statements: str) -> None:
        for statement in statements:
            assert self("!" + statement) is None

    def alloc(self, bytes_: int) -> int:
        code, pointer = self(f"alloc({bytes_})")
        assert code == 0
        return int(pointer)

    def export(self, pointer: int) -> str:
        code, handle = self(f"export({pointer})")
        assert code == 0
        return str(handle)

    def open(self, handle: str) -> int:
        code, pointer = self(f"open_memory({json.dumps(handle)})")
        assert code == 0
        return int(pointer)

    def read(self, pointer: int, bytes_: int) -> str:
        return str(self(f"from_device({pointer}, {bytes_})[1].decode()"))

    def write(self, pointer: int, data: str) -> None:
        assert self(f"to_device({pointer}, {data.encode()!r})") == 0

    def send(self, fd: int, other: Program, path: str) -> int:
        """Send a descriptor; return its number in the other process."""
        other.do(f"listen({path!r})")
        self.do(f"give({path!r}, {fd})")
        return int(other("take()"))

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(30) == 0

    def charged(self, kind: str = "linear") -> int:
        """Return the memory of that kind that this process is charged with."""
        return int(self.machine.process(self.pid)["memory"][kind])


def sound(machine: Machine, kind: str = "linear") -> int:
    """Check that the books add up; return the memory of that kind of all processes."""
    device = machine.device()
    processes = device["processes"]
    assert device["used_bytes"] == sum(p["used_bytes"] for p in processes)
    assert all(p["used_bytes"] == sum(p["memory"].values()) for p in processes)
    return sum(p["memory"][kind] for p in processes)
