"""Tries whether the kernel's OFD locks do what slots need, by doing with one what the shim does."""

import ctypes
import fcntl
import mmap
import os
import struct
import tempfile

_BYTE = 1 << 40
_MADV_DONTFORK = 10
_FLOCK = "hhqqi4x"


def locks_die_with_their_process_only() -> bool:
    """Whether a lock kept by a mapping alone survives close and a fork's end, and dies with its process."""
    with tempfile.TemporaryFile() as file:
        file.write(bytes(mmap.PAGESIZE))
        file.flush()
        told_read, told_write = os.pipe()
        end_read, end_write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.close(end_write)
                _hold(f"/proc/self/fd/{file.fileno()}")
                if os.fork() == 0:
                    os._exit(0)
                os.wait()
                os.write(told_write, b"1")
                os.read(end_read, 1)  # until our parent has looked, or is gone
            finally:
                os._exit(0)
        for descriptor in (told_write, end_read):
            os.close(descriptor)
        locked_alive = os.read(told_read, 1) == b"1" and _locked(file.fileno())
        os.close(end_write)
        os.close(told_read)
        os.waitpid(child, 0)
        return locked_alive and not _locked(file.fileno())


def _hold(path: str) -> None:
    """Lock the byte through a descriptor of its own, and keep only a mapping of it."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, _BYTE, 1, 0))
    page = libc.mmap(None, mmap.PAGESIZE, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0)
    libc.madvise(page, mmap.PAGESIZE, _MADV_DONTFORK)
    os.close(fd)


def _locked(fd: int) -> bool:
    answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, _BYTE, 1, 0))
    return bool(struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK)
