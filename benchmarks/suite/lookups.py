"""The ways in which a program may look up the driver's functions, and be started; pieces of a probe."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from gshare.benchmarks.suite.doors import Lookup

_NOW, _DEEPBIND, _GLOBAL = 2, 8, 0x100
_NEW_NAMESPACE = -1
_VERSIONS = {"cuMemAlloc_v2": ("cuMemAlloc", 3020), "cuCtxSetCurrent": ("cuCtxSetCurrent", 4000)}
_PER_THREAD_STREAM = 2


class _Loader:
    """The loader's functions as this program, linked with them, has them."""

    def __init__(self) -> None:
        itself = ctypes.CDLL(None)
        self.dlopen = self._function(itself.dlopen, [ctypes.c_char_p, ctypes.c_int])
        self.dlsym = self._function(itself.dlsym, [ctypes.c_void_p, ctypes.c_char_p])
        self.dlvsym = self._function(itself.dlvsym, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p])
        self.dlmopen = self._function(itself.dlmopen, [ctypes.c_long, ctypes.c_char_p, ctypes.c_int])

    @staticmethod
    def _function(function: Any, arguments: list[Any]) -> Callable[..., int | None]:
        function.restype, function.argtypes = ctypes.c_void_p, arguments
        found: Callable[..., int | None] = function
        return found

    def driver(self, name: bytes = b"libcuda.so.1", mode: int = _NOW) -> int | None:
        return self.dlopen(name, mode)


def _path() -> bytes:
    """Where the driver's file is."""
    _Loader().driver()
    with open("/proc/self/maps") as maps:
        for line in maps:
            if "/libcuda.so" in line:
                return line[line.index("/") :].strip().encode()
    return b"libcuda.so.1"


def _by_symbol(handle: int | None) -> Lookup:
    loader = _Loader()
    return lambda name: loader.dlsym(handle, name.encode()) or 0


def linked() -> Lookup:
    """As the loader binds a program that is linked with the driver."""
    loader = _Loader()
    loader.driver(mode=_NOW | _GLOBAL)
    itself = ctypes.CDLL(None)

    def find(name: str) -> int:
        try:
            return int(ctypes.cast(getattr(itself, name), ctypes.c_void_p).value or 0)
        except AttributeError:
            return 0

    return find


def by_handle() -> Lookup:
    return _by_symbol(_Loader().driver())


def by_default() -> Lookup:
    """RTLD_DEFAULT."""
    _Loader().driver(mode=_NOW | _GLOBAL)
    return _by_symbol(None)


def by_path() -> Lookup:
    return _by_symbol(_Loader().driver(_path()))


def deep() -> Lookup:
    """RTLD_DEEPBIND."""
    return _by_symbol(_Loader().driver(mode=_NOW | _DEEPBIND))


def new_namespace() -> Lookup:
    return _by_symbol(_Loader().dlmopen(_NEW_NAMESPACE, b"libcuda.so.1", _NOW))


def _proc_address(symbol: bytes, version: int, flags: int) -> Lookup:
    loader = _Loader()
    handle = loader.driver()
    address = loader.dlsym(handle, symbol)

    def find(name: str) -> int:
        if not address:
            return 0
        base, since = _VERSIONS.get(name, (name.split("_v", maxsplit=1)[0], 11000))
        asked = max(since, version)
        out, status = ctypes.c_void_p(), ctypes.c_int()
        function = ctypes.CFUNCTYPE(
            ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_uint64, ctypes.c_void_p
        )(address)
        code = function(base.encode(), ctypes.addressof(out), asked, flags, ctypes.addressof(status))
        return 0 if code else int(out.value or 0)

    return find


def proc_address_11() -> Lookup:
    return _proc_address(b"cuGetProcAddress", 11030, 0)


def proc_address_12() -> Lookup:
    return _proc_address(b"cuGetProcAddress_v2", 12000, 0)


def proc_address_13() -> Lookup:
    return _proc_address(b"cuGetProcAddress_v2", 13000, 0)


def proc_address_per_thread() -> Lookup:
    return _proc_address(b"cuGetProcAddress_v2", 12000, _PER_THREAD_STREAM)


def libc_own_dlsym() -> Lookup:
    """`dlsym` as the C library's own table has it."""
    loader = _Loader()
    libc = loader.dlopen(b"libc.so.6", _NOW)
    address = None
    for version in (b"GLIBC_2.34", b"GLIBC_2.2.5", b"GLIBC_2.17"):
        address = address or loader.dlvsym(libc, b"dlsym", version)
    if not address:
        return lambda name: 0
    own = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(address)
    handle = loader.driver()
    return lambda name: own(handle, name.encode()) or 0


LOOKUPS: dict[str, Callable[[], Lookup]] = {
    "linked with the driver": linked,
    "dlsym of its handle": by_handle,
    "dlsym RTLD_DEFAULT": by_default,
    "dlopen by path": by_path,
    "RTLD_DEEPBIND": deep,
    "dlmopen": new_namespace,
    "cuGetProcAddress 11.3": proc_address_11,
    "cuGetProcAddress_v2 12.0": proc_address_12,
    "cuGetProcAddress_v2 13.0": proc_address_13,
    "cuGetProcAddress, per-thread stream": proc_address_per_thread,
    "the C library's own dlsym": libc_own_dlsym,
}


def again(case: list[str], environ: dict[str, str]) -> dict[str, Any]:
    """What this program says last when it is started anew."""
    command = [sys.executable, "-m", "gshare.benchmarks.suite.worker", *case]
    done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, text=True, check=False)
    lines = done.stdout.splitlines()
    said: dict[str, Any] = json.loads(lines[-1]) if lines else {"failed": "it said nothing"}
    return said


def without_preload() -> dict[str, str]:
    """What a program can do to its children's environment."""
    return {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
