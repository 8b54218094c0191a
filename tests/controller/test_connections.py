"""Who asks and does not read is let go of, before what was answered fills the memory."""

import asyncio
import os
import tempfile
from collections.abc import Callable

import zmq
from users import ALICE, BOB, needs_root, users

from gshare.controller.connections import ADDRESSES, MOST_UNREAD_BYTES, USERS, Connections, Holder, Kind
from gshare.controller.gatekeeper import credentials_of
from gshare.controller.identity import Credentials
from gshare.controller.inbox import Asked
from gshare.controller.remote import MOST_SENT_BYTES

FEW, REPLIES, REPLY_BYTES = 8, 6, 1 << 19

asking: list["zmq.Socket[bytes]"] = []


def ask(address: str, count: int) -> None:
    """Over so many connections, from which nothing is taken."""
    context = zmq.Context()
    for _ in range(count):
        asking.append(context.socket(zmq.DEALER))
        asking[-1].setsockopt(zmq.RCVHWM, 1)
        asking[-1].setsockopt(zmq.RCVBUF, 1 << 16)
        asking[-1].connect(address)
        asking[-1].send(b"hello")


async def let_go(
    router: "zmq.Socket[bytes]", kind: Kind, alice: Holder, bob: Holder, ask_both: Callable[[], None]
) -> None:
    """Both ask, Bob often: he is let go of, and she is not."""
    router.setsockopt(zmq.LINGER, 0)
    held = Connections(router, "test", lambda holder, who: None, kind)
    try:
        ask_both()
        requests: dict[Holder, Asked] = {}
        for _ in range(1 + FEW):
            client, data = router.recv_multipart(copy=False)
            asked = Asked(credentials(data), client.bytes, data)
            requests[kind.asker(asked)] = asked
            for _ in range(REPLIES):
                router.send_multipart([client.bytes, bytes(REPLY_BYTES)])
        while held.unread_bytes(bob) <= MOST_UNREAD_BYTES or not held.unread_bytes(alice):
            await asyncio.sleep(0.01)
        held.relieve(requests[alice])
        held.relieve(requests[bob])
        while held.unread_bytes(bob):
            await asyncio.sleep(0.01)
        assert held.unread_bytes(alice)
    finally:
        held.close()


def credentials(data: zmq.Frame) -> Credentials:
    return credentials_of(str(data.get("Peer-Address"))) or Credentials(0, 0, 0)


@needs_root
def test_who_does_not_read_is_let_go_of_and_nobody_else() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="gshare-") as folder,
        users((ALICE, ()), (BOB, ())) as (alice, bob),
        zmq.Context() as context,
        context.socket(zmq.ROUTER) as router,
    ):
        os.chmod(folder, 0o711)
        address = f"ipc://{folder}/socket"
        router.bind(address)
        os.chmod(f"{folder}/socket", 0o666)

        def ask_both() -> None:
            alice.call(ask, address, 1)
            bob.call(ask, address, FEW)

        asyncio.run(asyncio.wait_for(let_go(router, USERS, ALICE, BOB, ask_both), 30))


def test_another_machine_that_does_not_read_is_let_go_of_and_no_other() -> None:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.setsockopt(zmq.SNDBUF, MOST_SENT_BYTES)
        port = router.bind_to_random_port("tcp://127.0.0.1")

        def ask_both() -> None:
            ask(f"tcp://127.0.0.2:0;127.0.0.1:{port}", 1)
            ask(f"tcp://127.0.0.3:0;127.0.0.1:{port}", FEW)

        try:
            asyncio.run(asyncio.wait_for(let_go(router, ADDRESSES, "127.0.0.2", "127.0.0.3", ask_both), 30))
        finally:
            while asking:
                asking.pop().close(0)
