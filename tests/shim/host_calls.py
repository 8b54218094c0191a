"""Pinned memory of the host by ctypes, through each of its doors, for the programs that tests run."""

from __future__ import annotations

import ctypes
import mmap
from typing import NamedTuple

from driver_calls import MIB, call, cuda, new
from vmm_calls import create, release

PAGE = mmap.PAGESIZE
UINT = ctypes.c_uint

OLD_CONTEXT = ctypes.c_uint64()

_own = mmap.mmap(-1, 512 * MIB)
PAGES = ctypes.addressof(ctypes.c_char.from_buffer(_own))
"""512 MiB of the program's own."""


class Piece(NamedTuple):
    """What a door gave: the call that frees it, and its argument."""

    free: str
    at: int

    def give(self) -> int:
        return release(self.at) if self.free == "cuMemRelease" else call(self.free, self.at)


def old_context() -> None:
    """Make a context of CUDA 2 the current one: only there are the oldest spellings allowed."""
    code = cuda.cuCtxCreate(ctypes.byref(OLD_CONTEXT), UINT(0), 0)
    if code:
        raise RuntimeError(f"cuCtxCreate: {code}")


def host_alloc(bytes_: int, flags: int = 0) -> tuple[int, int]:
    return new("cuMemHostAlloc", bytes_, flags)


def register(at: int, bytes_: int, flags: int = 0) -> int:
    return call("cuMemHostRegister_v2", at, bytes_, flags)


def pin(door: str, bytes_: int, number: int = 0) -> tuple[int, Piece]:
    """Pin that much through a door; registered ranges are parts of PAGES, by their number."""
    if door == "create":
        code, handle = create(bytes_, kind=3, handles=0)
        return code, Piece("cuMemRelease", handle)
    if door.startswith("cuMemHostRegister"):
        at = PAGES + number * bytes_
        return call(door, at, bytes_, 0), Piece("cuMemHostUnregister", at)
    if door == "cuMemHostAlloc portable":
        code, pointer = host_alloc(bytes_, 1)
    else:
        code, pointer = new(door, bytes_, *([0] if door == "cuMemHostAlloc" else []))
    return code, Piece("cuMemFreeHost", pointer)


def pin_all(door: str, bytes_: int, most: int = 40) -> tuple[list[Piece], int]:
    """Pin pieces until the driver says no or `most` are there."""
    pieces: list[Piece] = []
    code = 0
    while len(pieces) < most and not code:
        code, piece = pin(door, bytes_, len(pieces))
        if not code:
            pieces.append(piece)
    return pieces, code
