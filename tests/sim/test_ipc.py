"""Memory and events that processes share: what each sees, who is charged, what a death leaves behind."""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from simulated import Machine, line
from told import Program, sound

MIB = 1 << 20

Start = Callable[..., Program]


# -------- memory --------


@pytest.mark.parametrize("bytes_", [700, 5000, 3 * MIB, 300 * MIB])
def test_what_one_writes_the_others_read(machine: Machine, program: Start, bytes_: int) -> None:
    owner, second, third = program(), program(), program()
    owner.alloc(100)  # so that small memory shares its page with other memory
    pointer = owner.alloc(bytes_)
    charged = owner.charged()
    handle = owner.export(pointer)
    assert owner.export(pointer) == handle
    views = [second.open(handle), third.open(handle)]
    owner.write(pointer + bytes_ - 5, "first")
    assert second.read(views[0] + bytes_ - 5, 5) == "first"
    third.write(views[1], "third")
    assert owner.read(pointer, 5) == "third"
    assert owner.charged() == charged
    assert [second.charged(), third.charged()] == [0, 0]  # the owner pays
    assert second(f"to_device({views[0] + bytes_ - 2}, b'beyond')") == 1
    for other, view in zip([second, third], views, strict=True):
        assert other(f"call('cuIpcCloseMemHandle', {view})") == 0
        assert other(f"[call('cuIpcCloseMemHandle', {view}), from_device({view}, 1)[0]]") == [1, 1]
    assert owner.read(pointer, 5) == "third"
    assert sound(machine) == charged


def test_opening_twice_counts(program: Start) -> None:
    owner, other = program(), program()
    pointer = owner.alloc(4 * MIB)
    handle = owner.export(pointer)
    view = other.open(handle)
    assert other.open(handle) == view
    close = f"call('cuIpcCloseMemHandle', {view})"
    assert other(close) == 0
    owner.write(pointer, "still")
    assert other.read(view, 5) == "still"
    assert other(f"[{close}, {close}]") == [0, 1]


def test_codes_of_calls_that_cannot_be(program: Start) -> None:
    owner, other = program(), program()
    pointer = owner.alloc(4 * MIB)
    handle = owner.export(pointer)
    assert owner.export(pointer + MIB) == handle  # inside of it
    text = json.dumps(handle)
    assert owner(f"open_memory({text})[0]") == 201  # by its own process
    assert owner(f"[export(12345)[0], export(0)[0], call('cuIpcGetMemHandle', None, {pointer})]") == [1, 1, 1]
    kinds = ["new('cuMemAllocManaged', MIB, 1)", "new('cuMemAllocAsync', MIB, 0)"]
    assert [owner(f"export({kind}[1])[0]") for kind in kinds] == [1, 1]
    assert other(f"open_memory({text}, 0)[0]") == 1  # needs the flag
    assert other(f"open_memory({'00' * 64!r})[0]") == 1
    assert other(f"cuda.cuIpcOpenMemHandle_v2(None, handle_of({text}), 1)") == 1
    forged = bytearray.fromhex(handle)
    forged[8] ^= 1  # another serial
    assert other(f"open_memory({forged.hex()!r})[0]") == 400
    view = other.open(handle)
    assert other(f"[free({view}), free({view + 1}), call('cuIpcCloseMemHandle', {view + 512})]") == [1, 1, 1]
    assert other(f"export({view})[0]") == 1  # what is not one's own is not exported
    other.do("c, second = new('cuCtxCreate_v2', 0, 0)")
    assert other(f"open_memory({text})[0]") == 201  # another context of the process has it
    assert owner(f"free({pointer})") == 0
    assert program()(f"open_memory({text})[0]") in {0, 400}  # undefined, but never wild


def test_a_freed_allocation_has_no_handle_and_its_successor_another(program: Start) -> None:
    owner, other = program(), program()
    pointer = owner.alloc(4 * MIB)
    handle = owner.export(pointer)
    assert owner(f"free({pointer})") == 0
    assert owner.alloc(4 * MIB) == pointer
    assert other(f"open_memory({json.dumps(handle)})[0]") == 400
    assert owner.export(pointer) != handle


def test_memory_freed_by_its_owner_lives_on_with_who_has_it_open(machine: Machine, program: Start) -> None:
    owner, second, third = program(), program(), program()
    pointer = owner.alloc(8 * MIB)
    handle = owner.export(pointer)
    views = [second.open(handle), third.open(handle)]
    owner.write(pointer, "kept")
    assert owner(f"free({pointer})") == 0
    assert [p.charged() for p in (owner, second, third)] == [0, 8 * MIB, 0]
    again = owner.alloc(8 * MIB)
    assert again != pointer  # not the same memory under two names
    owner.write(again, "new!")
    assert [second.read(views[0], 4), third.read(views[1], 4)] == ["kept", "kept"]
    assert second(f"call('cuIpcCloseMemHandle', {views[0]})") == 0
    assert [p.charged() for p in (owner, second, third)] == [8 * MIB, 0, 8 * MIB]
    assert third(f"call('cuIpcCloseMemHandle', {views[1]})") == 0
    assert sound(machine) == 8 * MIB
    owner.export(again)  # looks what has come back
    assert owner.alloc(8 * MIB) == pointer
    assert owner.read(pointer, 4) == "\0\0\0\0"


@pytest.mark.parametrize("way", ["kill", "end"])
def test_an_owner_that_ends_leaves_its_memory_to_who_uses_it(
    machine: Machine, program: Start, way: str
) -> None:
    owner, other, late = program(), program(), program()
    pointer = owner.alloc(8 * MIB)
    owner.alloc(16 * MIB)
    handle = owner.export(pointer)
    view = other.open(handle)
    owner.write(pointer, "mine")
    getattr(owner, way)()
    assert sound(machine) == 8 * MIB
    assert other.charged() == 8 * MIB
    assert other.read(view, 4) == "mine"
    assert late(f"open_memory({json.dumps(handle)})[0]") == 400
    assert other(f"call('cuIpcCloseMemHandle', {view})") == 0
    assert sound(machine) == 0


def test_a_killed_user_is_no_user(machine: Machine, program: Start) -> None:
    owner, other, heir = program(), program(), program()
    pointer = owner.alloc(8 * MIB)
    handle = owner.export(pointer)
    other.open(handle)
    view = heir.open(handle)
    other.kill()
    assert sound(machine) == 8 * MIB
    assert owner(f"free({pointer})") == 0
    assert heir.charged() == 8 * MIB
    heir.kill()
    assert sound(machine) == 0
    assert view


def test_a_context_takes_what_was_opened_in_it(machine: Machine, program: Start) -> None:
    owner, other = program(), program()
    pointer = owner.alloc(8 * MIB)
    handle = owner.export(pointer)
    other.do("c, second = new('cuCtxCreate_v2', 0, 0)")
    view = other.open(handle)
    assert owner(f"free({pointer})") == 0
    assert sound(machine) == 8 * MIB
    assert other("call('cuCtxDestroy_v2', second)") == 0
    assert sound(machine) == 0
    assert other(f"from_device({view}, 1)[0]") == 1


def test_a_device_that_is_not_visible_is_not_opened(make_machine: Callable[..., Machine]) -> None:
    machine = make_machine("l4*2")
    owner, blind, other = (Program(machine, CUDA_VISIBLE_DEVICES=d) for d in ("1", "0", "1,0"))
    pointer = owner.alloc(MIB)
    handle = json.dumps(owner.export(pointer))
    owner.write(pointer, "dev1")
    assert blind(f"open_memory({handle})[0]") == 1
    code, view = other(f"open_memory({handle})")
    assert code == 0
    assert other.read(view, 4) == "dev1"
    other.do("ordinal = ctypes.c_int()")
    assert other(f"[call('cuPointerGetAttribute', ctypes.byref(ordinal), 9, {view}), ordinal.value]") == [
        0,
        0,
    ]
    for one in (owner, blind, other):
        one.end()


# -------- events --------


def test_an_event_orders_the_work_of_two_processes(machine: Machine, program: Start) -> None:
    owner, other = program(), program()
    pointer = owner.alloc(4 * MIB)
    view = other.open(owner.export(pointer))
    owner.do("function()", "ready = event(6)", "lane = stream()", "host = u64()")
    owner.do("must('cuMemHostAlloc', ctypes.byref(host), 4096, 0)", "ctypes.memset(host.value, 65, 4096)")
    code, handle = owner("export_event(ready)")
    assert code == 0
    code, ready = other(f"open_event({handle!r})")
    assert code == 0
    other.do("lane = stream()", "mine = ctypes.create_string_buffer(4)")
    # Nobody waits for the copy on the host: its bytes are there when the event says so.
    owner.do("spin(50 * MS, lane)", f"must('cuMemcpyHtoDAsync_v2', {pointer}, host.value, 4096, lane)")
    assert owner("call('cuEventRecord', ready, lane)") == 0
    assert other(f"call('cuEventQuery', {ready})") == 600
    other.do(f"must('cuStreamWaitEvent', lane, {ready}, 0)")
    other.do(f"must('cuMemcpyDtoHAsync_v2', mine, {view}, 4, lane)", "must('cuStreamSynchronize', lane)")
    assert other("mine.raw.decode()") == "AAAA"
    assert other(f"[call('cuEventQuery', {ready}), call('cuEventSynchronize', {ready})]") == [0, 0]
    # And back, recorded by the one that opened it.
    other.do(f"must('cuMemsetD8Async', {view}, 66, 4096, lane)", f"must('cuEventRecord', {ready}, lane)")
    owner.do("must('cuEventSynchronize', ready)")
    assert owner.read(pointer, 4) == "BBBB"
    assert other(f"call('cuEventDestroy_v2', {ready})") == 0
    assert owner("[call('cuEventQuery', ready), call('cuEventDestroy_v2', ready)]") == [0, 0]
    sound(machine)


def test_codes_of_events(program: Start) -> None:
    owner, other = program(), program()
    assert owner("[new('cuEventCreate', flags)[0] for flags in (4, 6, 7)]") == [1, 0, 0]
    owner.do("plain, shared = event(2), event(6)")
    assert owner("[export_event(plain)[0], call('cuIpcGetEventHandle', None, shared)]") == [400, 1]
    code, handle = owner("export_event(shared)")
    assert code == 0
    assert owner(f"open_event({handle!r})[0]") == 201
    assert other(f"open_event({'11' * 64!r})[0]") == 1
    code, opened = other(f"open_event({handle!r})")
    assert code == 0
    other.do("ms = ctypes.c_float()")
    assert other(f"call('cuEventElapsedTime', ctypes.byref(ms), {opened}, {opened})") == 400
    assert other(f"[call('cuEventQuery', {opened}), export_event({opened})[0]]") == [0, 0]
    assert owner(f"open_memory({handle!r})[0]") == 1  # of another kind


def test_nobody_waits_for_the_event_of_a_dead_process(machine: Machine, program: Start) -> None:
    owner, other = program(), program()
    owner.do("function()", "ready = event(6)")
    _, handle = owner("export_event(ready)")
    _, ready = other(f"open_event({handle!r})")
    owner.do("spin(100_000 * MS)", "must('cuEventRecord', ready, 0)")
    other.do("lane = stream()", f"must('cuStreamWaitEvent', lane, {ready}, 0)")
    assert other("call('cuStreamQuery', lane)") == 600
    owner.kill()
    assert other(f"[call('cuStreamSynchronize', lane), call('cuEventSynchronize', {ready})]") == [0, 0]
    # It can still be used, and its place is nobody else's.
    others = [program() for _ in range(2)]
    for one in others:
        one.do("[event(2) for _ in range(200)]")
    other.do("function()", "spin(50 * MS, lane)", f"must('cuEventRecord', {ready}, lane)")
    for one in others:
        one.do("mark = event(2)", "record(mark)", "sync()")
    assert other(f"call('cuEventQuery', {ready})") == 600
    assert other(f"[call('cuEventSynchronize', {ready}), call('cuEventDestroy_v2', {ready})]") == [0, 0]
    sound(machine)


# -------- any order, any death --------

CHURN = """
import random
from pathlib import Path
start(); chance, folder, own, opened = random.Random(SEED), Path(FOLDER), {}, []
mark = event(6)
for turn in range(1_000_000):
    if turn == 20: out(1)
    what = chance.randrange(6)
    if what == 0 and len(own) < 8:
        c, p = alloc(chance.randrange(1, 4 * MIB)); own[p] = folder / f"{os.getpid()}.{turn}"
        handle = ctypes.create_string_buffer(64); must("cuIpcGetMemHandle", handle, p)
        own[p].with_suffix(".new").write_bytes(handle.raw); own[p].with_suffix(".new").rename(own[p])
    elif what == 1 and own:
        p = chance.choice(list(own)); own.pop(p).unlink(); assert free(p) == 0
    elif what in (2, 3):
        theirs = [name for name in folder.iterdir() if name.suffix != ".new"]
        name = chance.choice(theirs) if theirs else None
        try: text = name.read_bytes()
        except (FileNotFoundError, AttributeError): continue
        pointer = u64(); handle = (ctypes.c_ubyte * 64).from_buffer_copy(text)
        code = cuda.cuIpcOpenMemHandle_v2(ctypes.byref(pointer), Bytes.from_buffer_copy(handle), 1)
        assert code in (0, 201, 400), code
        if code == 0: opened.append(pointer.value); assert to_device(pointer.value, b"x") == 0
    elif what == 4 and opened:
        must("cuIpcCloseMemHandle", opened.pop(chance.randrange(len(opened))))
    elif what == 5:
        handle = ctypes.create_string_buffer(64); must("cuIpcGetEventHandle", handle, mark); record(mark)
        must("cuEventDestroy_v2", mark); mark = event(6)
"""


def test_sharers_killed_at_any_moment_leave_the_books_right(machine: Machine, tmp_path: Path) -> None:
    chance = random.Random(3)
    shared = tmp_path / "handles"
    shared.mkdir()
    running: list[subprocess.Popen[str]] = []
    end = time.monotonic() + 2.5
    killed = 0
    while time.monotonic() < end or killed < 8:
        while len(running) < 3:
            settings = f"SEED, FOLDER = {chance.randrange(1 << 30)}, {str(shared)!r}\n"
            bytes_ = "class Bytes(ctypes.Structure): _fields_ = [('bytes', ctypes.c_ubyte * 64)]\n"
            running.append(machine.start("import ctypes\n" + settings + bytes_ + CHURN))
            line(running[-1])
        time.sleep(chance.random() * 0.05)
        sound(machine)
        victim = running.pop(chance.randrange(len(running)))
        assert victim.poll() is None
        victim.kill()
        victim.wait()
        killed += 1
        sound(machine)
    for one in running:
        one.kill()
        one.wait()
    assert machine.device()["used_bytes"] == 0
    assert machine.run("start(); out(alloc(MIB)[0])") == 0
