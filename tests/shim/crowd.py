"""Connections that a hostile user has to a controller, in a process of their own: see users.User.call."""

import socket
from contextlib import suppress

import zmq

from gshare.controller import wire
from gshare.controller.protocol import GetProcesses

asking: list["zmq.Socket[bytes]"] = []


def connect(path: str, count: int) -> None:
    """So many connections, each of which has been answered once."""
    context = zmq.Context()
    for _ in range(count):
        asking.append(context.socket(zmq.DEALER))
        asking[-1].setsockopt(zmq.LINGER, 0)
        asking[-1].connect(f"ipc://{path}")
    ask_all()
    assert answers(10_000) == count


def ask_all() -> None:
    for connection in asking:
        connection.send(wire.pack(1, GetProcesses()))


def answers(patience_ms: int) -> int:
    """How many have been answered since."""
    return sum(bool(connection.poll(patience_ms) and connection.recv()) for connection in asking)


held: list[socket.socket] = []


def hoard(path: str, count: int) -> int:
    """Open so many, and say nothing; how many of all the other side has let go of."""
    for _ in range(count):
        held.append(socket.socket(socket.AF_UNIX))
        held[-1].connect(path)
        held[-1].setblocking(False)
    return sum(map(ended, held))


def ended(connection: socket.socket) -> bool:
    with suppress(BlockingIOError):
        while connection.recv(100):  # a greeting, and then perhaps the end
            continue
        return True
    return False


def let_go() -> None:
    while held:
        held.pop().close()
