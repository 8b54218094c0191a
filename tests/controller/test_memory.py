"""A message that does not end takes no more of the controller's memory than there is for all."""

import asyncio
import os
import socket
import struct
import tempfile
import termios
from contextlib import suppress

import pytest
import zmq
from users import ALICE, BOB, needs_root, users

from gshare.controller.connections import USERS, Connections, _waiting_bytes
from gshare.controller.memory import Memory, own_bytes, trim

MOST = 16 << 20
PART = b"\x01\x64" + bytes(100)
"""As ZMTP has it: not the last one, a hundred bytes."""

held: list[socket.socket] = []


def connect(path: str) -> None:
    """As a client of ZeroMQ does, by hand."""
    speaking = socket.socket(socket.AF_UNIX)
    speaking.connect(path)
    speaking.settimeout(20)
    speaking.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32))
    ready = b"\x05READY\x0bSocket-Type" + struct.pack("!I", 6) + b"DEALER"
    speaking.sendall(b"\x04" + bytes([len(ready)]) + ready)
    while len(speaking.recv(1, socket.MSG_PEEK)) and len(greeting := speaking.recv(1000)) < 64:
        assert greeting
    held.append(speaking)


def send_without_end(most_bytes: int) -> None:
    with suppress(OSError):
        for _ in range(0, most_bytes, len(PART) * 1000):
            held[-1].sendall(PART * 1000)


def ended() -> bool:
    held[-1].setblocking(False)
    with suppress(BlockingIOError):
        while held[-1].recv(1000):
            continue
        return True
    return False


@needs_root
@pytest.mark.parametrize(("most_bytes", "others_end"), [(256 << 20, False), (MOST, True)])
def test_who_sends_without_end_is_let_go_of(
    most_bytes: int, others_end: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While he sends it is he; of what he sent before, and only keeps, nobody knows whose it is."""
    between_s = 0.02
    if not others_end:  # all is sent in a fraction of a second, in which a busy host may stop him for a while
        monkeypatch.setattr("gshare.controller.memory.PATIENCE", 10**9)
        between_s = 0.001

    async def run(path: str, router: "zmq.Socket[bytes]") -> None:
        connections = Connections(router, "test", lambda holder, who: None, USERS)
        trim()  # what comes would fit into what was freed before
        before = own_bytes()
        memory = Memory(before + MOST)
        try:
            with users((ALICE, ()), (BOB, ())) as (alice, bob):
                alice.call(connect, path)
                bob.call(connect, path)
                memory.look([connections])
                sending = asyncio.get_running_loop().run_in_executor(
                    None, bob.call, send_without_end, most_bytes
                )
                while own_bytes() <= memory.bound_bytes:
                    await asyncio.sleep(0.001)
                if others_end:
                    await sending
                    while any(_waiting_bytes(one, termios.FIONREAD) for one in connections._held[BOB]):
                        await asyncio.sleep(0.001)
                while not sending.done() or own_bytes() > memory.bound_bytes:
                    memory.look([connections])
                    await asyncio.sleep(between_s)
                await sending
                assert bob.call(ended)
                assert alice.call(ended) == others_end
                assert memory.bound_bytes == before + MOST
        finally:
            connections.close()

    with (
        tempfile.TemporaryDirectory(prefix="gshare-") as folder,
        zmq.Context() as context,
        context.socket(zmq.ROUTER) as router,
    ):
        os.chmod(folder, 0o711)
        router.setsockopt(zmq.LINGER, 0)
        router.bind(f"ipc://{folder}/socket")
        os.chmod(f"{folder}/socket", 0o666)
        asyncio.run(asyncio.wait_for(run(f"{folder}/socket", router), 60))
