"""Calls to the kernel that Python has no name for: namespaces, mounts, capabilities, system call filters."""

import ctypes
import os
import struct
from collections.abc import Sequence

CLONE_NEWNS = 0x00020000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_SLAVE = 32, 4096, 16384, 1 << 19
MNT_DETACH = 2

CAP_SYS_ADMIN = 21

_PR_SET_DUMPABLE, _PR_SET_KEEPCAPS = 4, 8
_PR_SET_SECCOMP, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 22, 24, 38, 47
_SECCOMP_MODE_FILTER = 2
_PR_CAP_AMBIENT_CLEAR_ALL = 4

_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)
_prctl = _libc.prctl
_prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4


def _check(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def has_capability(number: int) -> bool:
    """Whether this process may use the capability now."""
    return bool(_capabilities("CapEff") >> number & 1)


def unshare_mounts() -> None:
    """Have mounts of our own: what is mounted outside comes in, and nothing goes out."""
    _check(_libc.unshare(CLONE_NEWNS), "unshare")
    mount("none", "/", MS_REC | MS_SLAVE)


def mount(source: str, target: str, flags: int, kind: str = "", options: str = "") -> None:
    """mount(2)."""
    words = [word.encode() if word else None for word in (source, target, kind)]
    _check(_libc.mount(*words, ctypes.c_ulong(flags), options.encode() or None), target)


def bind(source: str, target: str, flags: int) -> None:
    """Show a file or a directory at another place, with flags of its own there."""
    mount(source, target, MS_BIND)
    mount("none", target, MS_BIND | MS_REMOUNT | flags)


def detach(target: str) -> None:
    """Unmount for the path; what is mounted from it elsewhere stays."""
    _check(_libc.umount2(target.encode(), MNT_DETACH), target)


def keep_capabilities() -> None:
    """Let the next change of the user leave us what we may."""
    _check(_prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0), "PR_SET_KEEPCAPS")


def be_seen() -> None:
    """Let /proc show us to our user again, whom it has been hidden from by the change."""
    _check(_prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0), "PR_SET_DUMPABLE")


def use_capabilities() -> None:
    """Use all that we may use."""
    permitted = _capabilities("CapPrm")
    _set_capabilities(permitted, permitted)


def drop_capabilities() -> None:
    """Have none any more, nor any program that we become."""
    if has_capability(8):  # CAP_SETPCAP
        for number in range(_capabilities("CapBnd").bit_length()):
            _check(_prctl(_PR_CAPBSET_DROP, number, 0, 0, 0), "PR_CAPBSET_DROP")
    _check(_prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "PR_CAP_AMBIENT")
    _set_capabilities(0, 0)
    _check(_prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS")


def filter_calls(program: Sequence[tuple[int, int, int, int]]) -> None:
    """Have every system call of this process and of what comes of it judged by a BPF program."""
    code = b"".join(struct.pack("HBBI", *step) for step in program)
    steps = ctypes.create_string_buffer(code, len(code))
    head = struct.pack("HxxxxxxP", len(program), ctypes.addressof(steps))
    pointer = ctypes.addressof(ctypes.create_string_buffer(head, len(head)))
    _check(_prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, pointer, 0, 0), "PR_SET_SECCOMP")


def _capabilities(kind: str) -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1], 16) for line in status if line.startswith(kind))


def _set_capabilities(effective: int, permitted: int) -> None:
    head = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
    low = (effective & 0xFFFFFFFF, permitted & 0xFFFFFFFF, 0)
    high = (effective >> 32, permitted >> 32, 0)
    _check(_libc.capset(head, struct.pack("6I", *low, *high)), "capset")
