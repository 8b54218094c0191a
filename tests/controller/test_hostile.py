"""A hostile user: messages that are none, or nearly, connections that only take; nobody else may notice."""

import os
import random
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import zmq
from machine_wide import Everybodys, everybodys
from users import ALICE, BOB, User, needs_root, users

from gshare.controller import protocol, wire
from gshare.controller.replies import Fault
from gshare.controller.units import Memory
from gshare.shim import abi

pytestmark = needs_root

RECORDED = [
    protocol.Admit(
        1,
        2,
        "python train.py",
        protocol.Limits(Memory(None, 5), 6),
        ["0"],
        "team",
        protocol.Simulated("/m", "t4"),
        True,
    ),
    protocol.Admit(1, 2, "true", protocol.Limits(None, None, {"0": Memory(5, None), "1": None})),
    protocol.SetLimits("team", protocol.Change(copy_bytes_per_s={"h2d": 1 << 30, "d2h": None})),
    protocol.Pause("train", True),
    protocol.GetStatus(),
    protocol.GetProcesses(),
    protocol.GetMemory(),
    protocol.GetShares(),
    protocol.GetTop(),
    protocol.GetEvents(1 << 62, "x", -1),
    protocol.GetDevices("/etc/passwd"),
    protocol.SetQuota("team", protocol.Change(weight=5)),
    protocol.GetQuotas("../../etc"),
    protocol.RemoveQuota("team"),
    protocol.Stop(),
]
BATCH = 50
LAST = 99
"""The number of the good message that ends each batch."""
ANSWERED_S, ASK_AGAIN_MS = 60, 100

SLOW_S = 5.0
"""Ten times what a request may take on a machine that does much else."""

MOST_GROWTH = 32 << 20

UNDISTURBED = 100
"""So often she asks before he attacks: what the machine makes her wait by itself."""


def mutated(chance: random.Random) -> list[bytes]:
    """The frames of one hostile message."""
    data = bytearray(wire.pack(chance.choice([0, 7, 1 << 63]), chance.choice(RECORDED)))
    for _ in range(chance.randrange(4)):
        at = chance.randrange(len(data) + 1)
        kind = chance.randrange(6)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del data[at : at + chance.randrange(20)]
        elif kind == 2:
            data[at:at] = chance.randbytes(chance.randrange(20))
        elif kind == 3:
            data[at:at] = bytes(data[: chance.randrange(40)])
        elif kind == 4:
            data[at:at] = b"\x91" * chance.choice([10, 3000])  # lists in lists
        else:
            data[at : at + 5] = chance.choice([b"\xdf", b"\xdd", b"\xdb", b"\xc6"]) + b"\xff\xff\xff\xff"
    frames = [bytes(data)] * chance.choice([1, 1, 1, 1, 1, 1, 0, 2, 5])
    return frames or [b""]


def attack(path: str, seed: int, count: int) -> int:
    """Send hostile messages, and return how many were answered; some connections never read."""
    chance = random.Random(seed)
    answered = 0
    with zmq.Context() as context:
        for _ in range(0, count, BATCH):
            with context.socket(zmq.DEALER) as speaking:
                speaking.setsockopt(zmq.LINGER, 1000)
                reads = chance.random() < 0.8
                if not reads:
                    speaking.setsockopt(zmq.RCVHWM, 1)
                speaking.connect(f"ipc://{path}")
                for _ in range(BATCH):
                    speaking.send_multipart(mutated(chance))
                    if reads:
                        answered += taken(speaking)[0]
                if reads:
                    answered += until_answered(speaking)
    return answered


def taken(speaking: "zmq.Socket[bytes]") -> tuple[int, int]:
    """How many answers there are by now, and the number of the latest."""
    count, number = 0, 0
    with suppress(zmq.Again):
        while True:
            number, _ = wire.unpack_reply(speaking.recv(zmq.NOBLOCK))
            count += 1
    return count, number


def until_answered(speaking: "zmq.Socket[bytes]") -> int:
    """Ask something good until that is answered: too many answers at once are lost; returns how many came."""
    answered, number, deadline = 0, 0, time.monotonic() + ANSWERED_S
    while number != LAST:
        assert time.monotonic() < deadline, "who has sent nonsense is not answered any more"
        speaking.send(wire.pack(LAST, protocol.GetDevices()))
        speaking.poll(ASK_AGAIN_MS)
        count, number = taken(speaking)
        answered += count
    return answered


def knock(path: str, seed: int, count: int) -> None:
    """Speak below ZeroMQ: half a greeting, a forged one, lengths that nothing follows, nothing at all."""
    chance = random.Random(seed)
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
    held = []
    for _ in range(count):
        raw = socket.socket(socket.AF_UNIX)
        raw.connect(path)
        raw.settimeout(1)
        said = chance.choice(
            [b"", greeting[: chance.randrange(64)], chance.randbytes(100), greeting + b"\x02" + b"\x7f" * 8]
        )
        with suppress(OSError):
            raw.sendall(said)
        held.append(raw)
        if len(held) > 20:
            held.pop(0).close()


def memory_bytes(pid: int) -> int:
    """What a process has of the machine's memory."""
    status = Path(f"/proc/{pid}/statm").read_text().split()
    return int(status[1]) * os.sysconf("SC_PAGESIZE")


@pytest.fixture
def machine() -> Iterator[Everybodys]:
    with everybodys() as made:
        yield made


def withstand(machine: Everybodys, count: int, seed: int) -> dict[str, float]:
    """Let Bob attack while Alice asks, and return what she noticed."""
    where, pid = str(machine.runtime.socket), machine.process.pid
    with users((ALICE, ()), (BOB, ())) as (alice, bob):
        machine.ask(machine.admission("train"), alice)
        bob.call(attack, where, seed, BATCH * 10)  # what is allocated once is there from then on
        before, descriptors = memory_bytes(pid), len(os.listdir(f"/proc/{pid}/fd"))
        undisturbed = waits(machine, alice, iter([True] * UNDISTURBED + [False]).__next__)
        answered = []
        attacking = threading.Thread(
            target=lambda: answered.append(bob.call(attack, where, seed, count)), daemon=True
        )
        attacking.start()
        took = waits(machine, alice, attacking.is_alive)
        bob.call(knock, where, seed, count // 50)
        rows = machine.ask(protocol.GetProcesses(), alice).processes
        assert [(row.tenant, row.pid) for row in rows] == [(f"train@{ALICE}", alice.pid)]
        assert rows[0].state != "paused"
        deadline = time.monotonic() + 10
        while len(os.listdir(f"/proc/{pid}/fd")) > descriptors + 5:
            assert time.monotonic() < deadline, "connections stay open"
            time.sleep(0.1)
        grown = memory_bytes(pid) - before
    assert machine.process.poll() is None
    log = (machine.runtime.directory.parent / "log").read_text()
    assert "Traceback" not in log, log[-3000:]
    assert answered[0] > count / 4  # most of it did arrive, and was refused in words
    assert grown < MOST_GROWTH
    assert max(took) < SLOW_S
    return {
        "messages": count,
        "answered": answered[0],
        "grown KiB": grown >> 10,
        **in_ms("asked meanwhile", took),
        **in_ms("asked before", undisturbed),
    }


def waits(machine: Everybodys, alice: User, goes_on: Callable[[], bool]) -> list[float]:
    """How long she waits for answers, in seconds."""
    took = []
    while goes_on():
        began = time.monotonic()
        machine.ask(protocol.GetProcesses(), alice)
        took.append(time.monotonic() - began)
        time.sleep(0.01)
    return took


def in_ms(when: str, took: list[float]) -> dict[str, float]:
    median, p99 = statistics.median(took), sorted(took)[len(took) * 99 // 100]
    named = {"median": median, "p99": p99, "max": max(took)}
    return {when: len(took)} | {f"{when}, {name} ms": round(1000 * took, 1) for name, took in named.items()}


def test_hostile_messages_hurt_nobody(machine: Everybodys) -> None:
    withstand(machine, 5000, seed=1)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_100_000_hostile_messages_hurt_nobody(machine: Everybodys) -> None:
    print(withstand(machine, 100_000, seed=2))


def test_an_older_client_is_told_so(machine: Everybodys) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as old:
        old.setsockopt(zmq.LINGER, 0)
        old.connect(f"ipc://{machine.runtime.socket}")
        old.send(wire.pack(3, protocol.GetStatus(), version=1))
        assert old.poll(5000)
        number, reply = wire.unpack_reply(old.recv())
    assert number == 3
    assert isinstance(reply, Fault)
    assert reply.why.startswith("speaks protocol 1, this gshare speaks ")
    assert reply.hint == "gshare controller upgrade; tenants keep their limits"


def test_who_takes_memory_again_and_again_keeps_nobody_from_it(machine: Everybodys) -> None:
    """At the sockets where it is handed over: without reading what is sent there, and too often."""
    with users((ALICE, ()), (BOB, ())) as (alice, bob):
        theirs, mine = (
            f"{machine.ask(machine.admission('train'), user).directory}/{abi.HANDOVER_SOCKET}"
            for user in (alice, bob)
        )
        bob.call(hoard, mine, 200)
        with pytest.raises(PermissionError):
            bob.call(hoard, theirs, 1)
        assert alice.call(handed, theirs) == 3 + abi.SEGMENTS


def hoard(path: str, count: int) -> None:
    """Connect, and read nothing."""
    held = []
    for _ in range(count):
        asking = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        asking.connect(path)
        held.append(asking)


def handed(path: str) -> int:
    """How many descriptors whoever calls this is handed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking:
        asking.settimeout(5)
        asking.connect(path)
        _, descriptors, _, _ = socket.recv_fds(asking, 100, 3 + abi.SEGMENTS)
    for descriptor in descriptors:
        os.close(descriptor)
    return len(descriptors)
