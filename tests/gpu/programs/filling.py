"""Fill the GPU through a framework until it refuses, give it back, and go on: one line of JSON about it.

A program of tests/gpu/programs gives its framework's `Client`; this is what they have in common.  Needs
nothing but Python itself, since the framework may live in a Python without gshare.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

MIB = 1 << 20
PIECES = (64 * MIB, 2 * MIB)
"""Until the first is refused, then until the second is."""
WORKSPACE = 16 * MIB
HOLD_S = 0.3
MEET_S = 60.0


class Client(Protocol):
    """One framework."""

    errors: tuple[type[BaseException], ...]
    """What it raises when there is no memory."""

    def take(self, size: int) -> Any:
        """Memory of that size, written to, that lives as long as the answer."""

    def give_back(self) -> None:
        """What lies in caches goes back to the driver."""

    def check(self) -> bool | None:
        """Compute something whose result is known; None: nothing computes here."""

    def total(self) -> int | None:
        """What the framework thinks the device has; None: it does not say."""


class Driver:
    """libcuda by ctypes, for programs without a binding of their own."""

    def __init__(self) -> None:
        self.library = ctypes.CDLL("libcuda.so.1")
        self.must("cuInit", 0)

    def code(self, name: str, *args: Any) -> int:
        return int(getattr(self.library, name)(*args))

    def must(self, name: str, *args: Any) -> None:
        code = self.code(name, *args)
        if code:
            raise DriverError(name, code, self.name_of(code))

    def name_of(self, code: int) -> str:
        name = ctypes.c_char_p()
        self.library.cuGetErrorName(code, ctypes.byref(name))
        return (name.value or b"").decode()

    def primary_context(self) -> None:
        context = ctypes.c_void_p()
        self.must("cuDevicePrimaryCtxRetain", ctypes.byref(context), 0)
        self.must("cuCtxSetCurrent", context)

    def total(self) -> int:
        total = ctypes.c_size_t()
        self.must("cuDeviceTotalMem_v2", ctypes.byref(total), 0)
        return total.value

    def memory_info(self) -> tuple[int, int]:
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self.must("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value, total.value


class DriverError(Exception):
    def __init__(self, call: str, code: int, name: str) -> None:
        super().__init__(f"{call}: {name}")
        self.code = code


class DriverMemory:
    def __init__(self, driver: Driver, size: int) -> None:
        self.driver = driver
        self.address = 0
        address = ctypes.c_uint64()
        driver.must("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(size))
        self.address = address.value
        driver.must("cuMemsetD8_v2", ctypes.c_uint64(self.address), 0, ctypes.c_size_t(size))

    def __del__(self) -> None:
        if self.address:
            self.driver.code("cuMemFree_v2", ctypes.c_uint64(self.address))


class DriverClient:
    """The driver alone, as a framework."""

    errors = (DriverError,)

    def __init__(self) -> None:
        self.driver = Driver()
        self.driver.primary_context()

    def take(self, size: int) -> DriverMemory:
        return DriverMemory(self.driver, size)

    def give_back(self) -> None:
        pass

    def check(self) -> bool | None:
        return None

    def total(self) -> int:
        return self.driver.total()


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", type=int, required=True, help="bytes at which it stops asking")
    parser.add_argument("--board", type=Path, help="file on which those who fill together sign")
    parser.add_argument("--parties", type=int, default=1, help="how many they are")
    return parser.parse_args()


def fill(client: Client, target: int) -> tuple[list[Any], int, str | None]:
    """Take pieces until `target`; what was got, its bytes, and the last refusal's words."""
    kept, got, refusal = [], 0, None
    for piece in PIECES:
        while got + piece <= target:
            try:
                kept.append(client.take(piece))
            except client.errors as error:
                refusal = words_of(error)  # the error itself would keep frames, and these memory, alive
                break
            got += piece
    return kept, got, refusal


def exhaust(take: Callable[[int], Any], error: type[BaseException], most: int) -> str | None:
    """Take workspaces until there is no memory, or `most` bytes of them; the refusal's words."""
    kept: list[Any] = []
    while len(kept) * WORKSPACE < most:
        try:
            kept.append(take(WORKSPACE))
        except error as refusal:
            return words_of(refusal)
    return None


def meet(board: Path | None, signatures: int) -> None:
    """Sign, and wait for as many signatures; without a board nobody else is there."""
    if not board:
        return
    with board.open("ab") as file:
        file.write(b".")
    end = time.monotonic() + MEET_S
    while board.stat().st_size < signatures:
        if time.monotonic() > end:
            raise SystemExit("the others have not come")
        time.sleep(0.01)


def words_of(error: BaseException) -> str:
    """A refusal's class and first words."""
    return f"{type(error).__module__}.{type(error).__qualname__}: {str(error)[:400]}"


def run(make: Callable[[], Client], **facts: Any) -> None:
    """Check, fill, hold, give back, take half of it once more, check again; print what was seen."""
    chosen = options()
    target = chosen.target
    client = make()
    right = [client.check()]
    meet(chosen.board, chosen.parties)  # each has its context before any is full
    kept, got, refusal = fill(client, target)
    meet(chosen.board, 2 * chosen.parties)  # nobody gives back before all are full
    time.sleep(HOLD_S)
    del kept
    gc.collect()
    client.give_back()
    again, again_bytes, _ = fill(client, got // 2)
    del again
    gc.collect()
    client.give_back()
    right.append(client.check())
    say(
        got_bytes=got,
        again_bytes=again_bytes,
        refusal=refusal,
        right=all(right) if None not in right else None,
        own_total_bytes=client.total(),
        **facts,
    )


def say(**facts: Any) -> None:
    """The line of JSON, with what the driver says of the device."""
    driver = Driver()
    driver.primary_context()
    free, total = driver.memory_info()
    print(
        json.dumps({"total_bytes": driver.total(), "info_total_bytes": total, "free_bytes": free, **facts}),
        flush=True,
    )
