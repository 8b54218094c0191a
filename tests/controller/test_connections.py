"""Who asks and does not read is let go of, before what was answered fills the memory."""

import asyncio
import os
import tempfile

import zmq
from users import ALICE, BOB, User, needs_root, users

from gshare.controller.connections import MOST_UNREAD_BYTES, Connections

FEW, REPLIES, REPLY_BYTES = 8, 6, 1 << 19

asking: list["zmq.Socket[bytes]"] = []


def ask(path: str, count: int) -> None:
    """Over so many connections, from which nothing is taken."""
    context = zmq.Context()
    for _ in range(count):
        asking.append(context.socket(zmq.DEALER))
        asking[-1].setsockopt(zmq.RCVHWM, 1)
        asking[-1].connect(f"ipc://{path}")
        asking[-1].send(b"hello")


@needs_root
def test_who_does_not_read_is_let_go_of_and_nobody_else() -> None:
    async def answer(path: str, context: "zmq.Context[zmq.Socket[bytes]]", alice: User, bob: User) -> None:
        router = context.socket(zmq.ROUTER)
        router.setsockopt(zmq.LINGER, 0)
        router.bind(f"ipc://{path}")
        os.chmod(path, 0o666)
        held = Connections(router, "test", lambda who: None)
        try:
            alice.call(ask, path, 1)
            bob.call(ask, path, FEW)
            for client in [router.recv_multipart()[0] for _ in range(1 + FEW)]:
                for _ in range(REPLIES):
                    router.send_multipart([client, bytes(REPLY_BYTES)])
            while held.unread_bytes(BOB) <= MOST_UNREAD_BYTES or not held.unread_bytes(ALICE):
                await asyncio.sleep(0.01)
            held.relieve(ALICE)
            held.relieve(BOB)
            while held.unread_bytes(BOB):
                await asyncio.sleep(0.01)
            assert held.unread_bytes(ALICE)
        finally:
            held.close()

    with (
        tempfile.TemporaryDirectory(prefix="gshare-") as folder,
        users((ALICE, ()), (BOB, ())) as (alice, bob),
    ):
        os.chmod(folder, 0o711)
        context = zmq.Context()
        try:
            asyncio.run(asyncio.wait_for(answer(f"{folder}/socket", context, alice, bob), 30))
        finally:
            context.destroy(0)
