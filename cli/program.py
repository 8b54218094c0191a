"""The program that `gshare run` is to become: found as a shell would, and fit to be preloaded or not."""

import os
import stat
import struct
from collections.abc import Callable
from typing import NamedTuple

from gshare.controller.errors import GshareError, ProgramNotExecutable, ProgramNotFound

DIRECTORY = "is a directory"

_ELF = b"\x7fELF"
_HEADER_BYTES = 64
_PT_INTERP = 3
_MAX_SCRIPT_DEPTH = 4


class Program(NamedTuple):
    """Where the program is, and why our library could not be loaded into it (empty: it can)."""

    path: str
    obstacle: str
    is_musl: bool


def find(name: str) -> Program:
    """Look the program up; raise ProgramNotFound or ProgramNotExecutable as `nice` would fail."""
    folders = os.get_exec_path() if name else []
    candidates = [name] if "/" in name else [os.path.join(folder, name) for folder in folders]
    refusal = ""
    for path in candidates:
        try:
            mode = os.stat(path).st_mode
        except OSError as error:
            if isinstance(error, PermissionError):
                refusal = refusal or f"{error.strerror}"
            continue
        if stat.S_ISDIR(mode):
            refusal = refusal or DIRECTORY
        elif not os.access(path, os.X_OK):
            refusal = refusal or "not executable"
        else:
            return Program(path, *_obstacle(path))
    if refusal:
        hint = "" if refusal == DIRECTORY else "chmod +x, or name its interpreter"
        raise ProgramNotExecutable(name, refusal, hint)
    raise ProgramNotFound(name or "''", "no such program", "$PATH was searched" if "/" not in name else "")


def check_preload(program: Program, *, limited: bool) -> bool:
    """Whether our library goes in; raise GshareError where a limit was asked for and it cannot.

    A program of another C library is refused in any case: its loader would stop at our library.
    """
    if program.obstacle and (limited or program.is_musl):
        raise GshareError(
            program.path, program.obstacle, "gshare limits dynamically linked glibc programs only"
        )
    return not program.obstacle


def _obstacle(path: str, depth: int = 0) -> tuple[str, bool]:
    """Why the library cannot be preloaded into the file, and whether that is because it is a musl program."""
    try:
        with open(path, "rb") as file:
            head = file.read(_HEADER_BYTES)
            if head[:2] == b"#!" and depth < _MAX_SCRIPT_DEPTH:
                words = (head + file.readline(4096)).splitlines()[0][2:].split()
                return _obstacle(os.fsdecode(words[0]), depth + 1) if words else ("", False)
            if head[:4] != _ELF or len(head) < _HEADER_BYTES:
                return "", False  # a script without #!, which sh runs, or nothing that anybody can run
            if head[4] != 2:
                return "is a 32-bit program", False
            if depth == 0 and os.fstat(file.fileno()).st_mode & stat.S_ISUID:
                return "is set-user-ID: the loader ignores LD_PRELOAD", False
            interpreter = _interpreter(file.read, file.seek, head)
    except OSError:
        return "", False  # executable and not readable: cannot be told
    if not interpreter:
        return "is statically linked: nothing can be preloaded into it", False
    if b"ld-musl" in interpreter:
        return "is a musl program", True
    return "", False


def _interpreter(read: Callable[[int], bytes], seek: Callable[[int], int], head: bytes) -> bytes:
    """The loader that a 64-bit ELF file names, empty for none."""
    offset, size, count = struct.unpack_from("<Q", head, 32)[0], *struct.unpack_from("<HH", head, 54)
    for index in range(count):
        seek(offset + index * size)
        entry = read(56)
        if len(entry) == 56 and struct.unpack_from("<I", entry)[0] == _PT_INTERP:
            start, length = struct.unpack_from("<Q", entry, 8)[0], struct.unpack_from("<Q", entry, 32)[0]
            seek(start)
            return read(min(length, 4096)).rstrip(b"\0")
    return b""
