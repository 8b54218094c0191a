"""Messages: what goes in comes out, and nothing else gets in."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gshare.controller import protocol, wire
from gshare.controller.errors import OverCapacity
from gshare.controller.protocol import Admit, Change, GetStatus, Limits, Pause, SetLimits, Simulated
from gshare.controller.replies import Admitted, Fault, Granted, Shares
from gshare.controller.share_replies import ShareWindow, TenantShare
from gshare.controller.units import FULL_PPM, Memory
from gshare.controller.wire import BadMessage
from gshare.shim import abi

REQUESTS = [
    Admit(1, 2, "python train.py", Limits(Memory(None, 5), 6), ["0"], "team", Simulated("/m", "t4"), True),
    Admit(1, 2, "true"),
    Admit(1, 2, "true", Limits(None, None, {"0": Memory(5, None), "1": None})),
    SetLimits("team", Change(lift_memory=True)),
    SetLimits("team", Change(memory_on={"GPU-1b2c3d4e": Memory(None, 5), "1": None})),
    SetLimits("team", Change(compute_ppm=1, ceiling_ppm=2, weight=3, priority="low", mode="turns")),
    SetLimits("team", Change(copy_bytes_per_s={"h2d": 1 << 30, "d2h": None})),
    Pause("team", True),
    GetStatus(),
]


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: type(request).__name__)
def test_a_request_comes_out_as_it_went_in(request_: protocol.Request) -> None:
    assert wire.unpack_request(wire.pack(7, request_)) == (7, request_)


def test_a_reply_comes_out_as_it_went_in_and_prints_its_schema_first() -> None:
    reply = Admitted("t", "/d", False, [Granted(0, "GPU-1", 5, None, 3)])
    assert wire.unpack_reply(wire.pack(1, reply)) == (1, reply)
    assert msgspec.json.encode(reply).startswith(b'{"schema":"gshare/admission/v1",')


def test_the_longest_reply_is_short_enough() -> None:
    most = FULL_PPM
    window = ShareWindow(60, 1 << 62, *[most] * 7, 1 << 40, most)
    share = TenantShare(
        tenant="a" * 63, index=15, uuid="GPU-" + "f" * 36, simulated=True, processes=512, state="throttled",
        mode="concurrent", metered=True, guarantee_ppm=most, ceiling_ppm=most, weight=1000, priority="normal",
        promised_ppm=most, granted_ppm=most, busy_above=["b" * 63] * 4, turn_ns=1 << 40, period_ns=1 << 40,
        used_bytes=1 << 62, memory_limit_bytes=1 << 62, copy_bytes_per_s={"h2d": 1 << 62, "d2h": 1 << 62},
        windows=[window] * 3, seconds_ppm=[most] * 61,
    )  # fmt: skip
    whole = Shares(1 << 62, [], [share] * abi.MAX_TENANTS * abi.MAX_DEVICES)
    assert wire.MAX_MESSAGE_BYTES < len(wire.pack(1, whole)) < wire.MAX_REPLY_BYTES


def test_an_error_comes_out_as_it_went_in() -> None:
    error = OverCapacity("a", "b", "c")
    reply = wire.unpack_reply(wire.pack(1, wire.fault(error)))[1]
    assert isinstance(reply, Fault)
    assert type(wire.error_of(reply)) is OverCapacity
    assert str(wire.error_of(reply)) == str(error)


def test_another_version_is_named_and_keeps_its_number() -> None:
    other, own = protocol.VERSION + 1, protocol.VERSION
    with pytest.raises(BadMessage, match=f"protocol {other}, this gshare speaks {own}") as caught:
        wire.unpack_request(wire.pack(9, GetStatus(), version=other))
    assert caught.value.message == 9


def test_a_newer_body_does_not_matter_to_the_version_check() -> None:
    data = msgspec.msgpack.encode((protocol.VERSION + 1, 5, {"type": "of-tomorrow"}))
    with pytest.raises(BadMessage, match=f"protocol {protocol.VERSION + 1}"):
        wire.unpack_request(data)


@pytest.mark.parametrize(
    "request_",
    [
        Admit(1, 1, "x" * (protocol.MOST_OF_COMMAND + 1)),
        Admit(1, 1, "x", gpus=["0"] * 200_000),
        Admit(1, 1, "x", Limits(memory_on={str(gpu): None for gpu in range(1000)})),
        Admit(1, 1, "x", tenant="x" * 257),
        GetStatus(),
    ],
    ids=["command", "GPUs", "amounts", "name", "sound"],
)
def test_what_is_longer_than_it_can_be_is_refused(request_: protocol.Request) -> None:
    """Before anybody goes through all of it: 200,000 GPUs took half a second, and all others waited."""
    data = wire.pack(1, request_)
    assert len(data) < wire.MAX_MESSAGE_BYTES
    if isinstance(request_, GetStatus):
        assert wire.unpack_request(data) == (1, request_)
        return
    with pytest.raises(BadMessage, match="length"):
        wire.unpack_request(data)


@given(st.binary(max_size=200))
def test_noise_is_refused(data: bytes) -> None:
    with pytest.raises(BadMessage):
        wire.unpack_request(data)


@given(st.integers(0, 300), st.integers(0, 255))
def test_a_damaged_request_is_refused_or_means_something(position: int, value: int) -> None:
    data = bytearray(wire.pack(1, REQUESTS[0]))
    data[position % len(data)] = value
    try:
        _, request = wire.unpack_request(bytes(data))
    except BadMessage:
        return
    assert isinstance(request, Admit)
