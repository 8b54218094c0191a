"""Who is let in at a socket, by the kernel's word; nobody where nobody answers."""

import asyncio
import os
import socket
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zmq
import zmq.asyncio
from users import ALICE, needs_root, users

from gshare.controller import identity
from gshare.controller.gatekeeper import Gatekeeper, guard, sender
from gshare.controller.identity import Credentials

PATIENCE_S = 0.5
"""For what must not come."""

LONG_PATIENCE_S = 20.0
"""For what must."""


def send(path: str, patience_s: float = PATIENCE_S) -> None:
    """A message from whoever calls this."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket_:
        socket_.setsockopt(zmq.LINGER, int(patience_s * 1000))
        socket_.connect(f"ipc://{path}")
        socket_.send(b"hello")


async def received(
    admits: Callable[[Credentials], bool] | None,
    *,
    serves: bool,
    expects: bool = True,
    speak: Callable[[str], object],
) -> list[Credentials | None]:
    """Who a guarded socket hears when somebody speaks to it."""
    with tempfile.TemporaryDirectory(prefix="gshare-") as folder:
        os.chmod(folder, 0o711)
        context = zmq.asyncio.Context()
        asked: list[str] = []

        def admit(domain: str, credentials: Credentials) -> bool:
            asked.append(domain)
            return admits is not None and admits(credentials)

        keeper = Gatekeeper(context, admit) if admits else None
        serving = asyncio.create_task(keeper.serve()) if keeper and serves else None
        router = context.socket(zmq.ROUTER)
        guard(router, "requests")
        router.bind(f"ipc://{folder}/socket")
        os.chmod(f"{folder}/socket", 0o666)
        heard = []
        try:
            speaking = asyncio.get_running_loop().run_in_executor(None, speak, f"{folder}/socket")
            patience_s = LONG_PATIENCE_S if expects else PATIENCE_S
            while await router.poll(int((PATIENCE_S if heard else patience_s) * 1000)):
                heard.append(sender((await router.recv_multipart(copy=False))[-1]))
            await speaking
        finally:
            if serving:
                serving.cancel()
            context.destroy(linger=0)
        assert set(asked) <= {"requests"}
        return heard


def everybody(credentials: Credentials) -> bool:
    return True


def test_who_is_let_in_is_known_by_the_kernels_word() -> None:
    (who,) = asyncio.run(received(everybody, serves=True, speak=lambda path: send(path, LONG_PATIENCE_S)))
    assert who == Credentials(os.getuid(), os.getgid(), os.getpid())


@pytest.mark.parametrize("admits", [everybody, None], ids=["stopped", "none"])
def test_without_an_answer_nobody_gets_in(admits: Callable[[Credentials], bool] | None) -> None:
    assert asyncio.run(received(admits, serves=False, expects=False, speak=send)) == []


@needs_root
def test_another_user_is_kept_out_and_oneself_is_not() -> None:
    def only_us(credentials: Credentials) -> bool:
        return credentials.uid == os.getuid()

    with users((ALICE, ())) as (alice,):
        assert (
            asyncio.run(
                received(only_us, serves=True, expects=False, speak=lambda path: alice.call(send, path))
            )
            == []
        )
        (who,) = asyncio.run(
            received(everybody, serves=True, speak=lambda path: alice.call(send, path, LONG_PATIENCE_S))
        )
    assert who == Credentials(ALICE, ALICE, alice.pid)


def properties(**named: bytes) -> bytes:
    return b"".join(
        bytes([len(name)]) + name.encode() + struct.pack("!I", len(value)) + value
        for name, value in ((name.replace("_", "-"), value) for name, value in named.items())
    )


held: list[socket.socket] = []
"""What somebody says who is gone at once, libzmq may not tell."""


def forge(path: str) -> None:
    """Says to be root, in the words in which libzmq tells the receiver who it is."""
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
    ready = b"\x05READY" + properties(
        Socket_Type=b"DEALER", Peer_Address=b"localhost:0:0:1", User_Id=b"0:0:1"
    )
    raw = socket.socket(socket.AF_UNIX)
    raw.settimeout(LONG_PATIENCE_S)
    raw.connect(path)
    raw.sendall(greeting)
    raw.recv(64, socket.MSG_WAITALL)
    raw.sendall(bytes([4, len(ready)]) + ready)
    raw.recv(2, socket.MSG_WAITALL)
    raw.sendall(b"\x00\x05hello")
    held.append(raw)


@needs_root
def test_what_a_client_says_of_itself_counts_for_nothing() -> None:
    with users((ALICE, ())) as (alice,):
        (who,) = asyncio.run(received(everybody, serves=True, speak=lambda path: alice.call(forge, path)))
    assert who == Credentials(ALICE, ALICE, alice.pid)


def test_credentials_are_three_numbers() -> None:
    assert identity.parse("1:2:3") == Credentials(1, 2, 3)
    for text in ("", "1:2", "1:2:3:4", "-1:2:3", "1:2:x", "1:2:", "1:2:\u0663"):
        assert identity.parse(text) is None, text


@needs_root
def test_administrators_are_known_by_their_groups(tmp_path: Path) -> None:
    with users((ALICE, (30001, 30002)), (ALICE, ())) as (in_group, outside):
        member = identity.peer(Credentials(ALICE, ALICE, in_group.pid), {30001})
        assert member.administrator
        assert member.groups == {ALICE, 30001, 30002}
        assert not identity.peer(Credentials(ALICE, ALICE, outside.pid), {30001}).administrator
        # A number that is another user's by now, or nobody's, lends nobody its groups.
        assert identity.peer(Credentials(ALICE + 1, ALICE + 1, in_group.pid), {30001}).groups == {ALICE + 1}
        assert identity.peer(Credentials(ALICE, ALICE, 0), {30001}).groups == {ALICE}
    assert identity.peer(Credentials(os.geteuid(), 0, os.getpid())).administrator
