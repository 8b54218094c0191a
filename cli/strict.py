"""`gshare run --strict`: a program that has gshare in it whatever it, or a child of it, does.

In mounts of its own it finds an /etc/ld.so.preload that names the library, which the loader obeys in every
program, and its tenant's directory at /run/gshare/self, where the library looks first.  It can undo neither:
it has no capability and can get none, and it cannot make a user namespace, in which it would.

Three steps, since the controller must be asked as the user, before there are mounts that it would inherit:
prepare() what is mounted on, become() the user, then confine().
"""

import os
import pwd
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from gshare.cli import kernel
from gshare.cli.kernel import MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY, MS_REMOUNT
from gshare.controller.errors import GshareError, UsageError
from gshare.controller.mounts import SELF, confined
from gshare.shim import LIBRARY

LIBRARIES = "/run/gshare/lib"
"""And the library: a copy, which the owner of the installed one cannot change under it."""

PRELOAD = "/etc/ld.so.preload"

OPTION = "--strict"


class User(NamedTuple):
    """Whom a program runs as."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str = ""
    home: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """What a login would set, where the user is known by name."""
        return {"HOME": self.home, "USER": self.name, "LOGNAME": self.name} if self.name else {}


def user(named: str | None) -> User | None:
    """Whom to become: who is named, or who called sudo; None stays who we are."""
    if named is None:
        named = os.environ.get("SUDO_UID") if os.geteuid() == 0 else None
    elif os.geteuid() != 0:
        raise UsageError(f"--user {named}", "only root becomes another user")
    if named is None:
        return None
    try:
        entry = pwd.getpwuid(int(named)) if named.isdecimal() else pwd.getpwnam(named)
    except KeyError:
        if named.isdecimal():
            return User(int(named), int(named), ())
        raise UsageError(f"--user {named}", "there is no such user") from None
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    return User(entry.pw_uid, entry.pw_gid, tuple(groups), entry.pw_name, entry.pw_dir)


def prepare(*, make: bool = True) -> None:
    """Make sure that there is something to mount on; raise GshareError without the right to mount."""
    if confined():
        raise GshareError(OPTION, "this program is confined to a tenant already", "run it without --strict")
    if not kernel.has_capability(kernel.CAP_SYS_ADMIN):
        hint = "sudo gshare run --strict …, which is the user again"
        raise GshareError(OPTION, "needs root or CAP_SYS_ADMIN", hint)
    if not make:
        return
    try:
        for directory in (os.path.dirname(SELF), SELF, LIBRARIES):
            if not os.path.isdir(directory):
                os.mkdir(directory)
                os.chmod(directory, 0o755)
        if not os.path.exists(PRELOAD):  # an empty one is as none
            os.close(os.open(PRELOAD, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
            os.chmod(PRELOAD, 0o644)
    except OSError as error:
        raise GshareError(OPTION, f"{error.filename} cannot be made: {error.strerror}", "root can") from None


def become(whom: User) -> None:
    """Be the user from now on, and keep what is needed for what is left to do.

    That is the right to mount, and to read Python's own files, which may be out of the user's reach.
    """
    kernel.keep_capabilities()
    os.setgroups(whom.groups)
    os.setresgid(whom.gid, whom.gid, whom.gid)
    os.setresuid(whom.uid, whom.uid, whom.uid)
    kernel.use_capabilities()
    kernel.be_seen()


def confine(directory: str) -> None:
    """Mount all, and let go of every privilege: after this only the program is left to be started."""
    try:
        kernel.use_capabilities()
        kernel.unshare_mounts()
        _mount(directory)
        kernel.drop_capabilities()
        kernel.filter_calls(list(no_user_namespaces()))
    except OSError as error:
        raise GshareError(OPTION, f"{error.filename}: {error.strerror}", "gshare doctor") from None


def environment(environ: dict[str, str]) -> dict[str, str]:
    """`environ` without our library, which would be loaded a second time from another place."""
    others = [
        entry
        for entry in environ.get("LD_PRELOAD", "").replace(":", " ").split()
        if os.path.basename(entry) != LIBRARY.name
    ]
    rest = {name: value for name, value in environ.items() if name != "LD_PRELOAD"}
    return {**rest, "LD_PRELOAD": ":".join(others)} if others else rest


def _mount(directory: str) -> None:
    code, others = LIBRARY.read_bytes(), Path(PRELOAD).read_text()
    ours = f"{LIBRARIES}/{LIBRARY.name}"
    kernel.mount("gshare", LIBRARIES, MS_NOSUID | MS_NODEV, "tmpfs", f"mode=755,size={len(code) + (1 << 20)}")
    for name, content in ((LIBRARY.name, code), ("ld.so.preload", f"{ours}\n{others}".encode())):
        path = Path(LIBRARIES, name)
        path.write_bytes(content)
        path.chmod(0o444 if name == "ld.so.preload" else 0o555)
    kernel.mount("none", LIBRARIES, MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV)
    kernel.bind(directory, SELF, MS_NOSUID | MS_NODEV | MS_NOEXEC)
    kernel.bind(f"{LIBRARIES}/ld.so.preload", PRELOAD, MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)


_LOAD, _JUMP_EQUAL, _JUMP_SET, _JUMP_FROM, _RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_EPERM, _ENOSYS = 1, 38
_NUMBER, _ARCH, _ARGUMENT = 0, 4, 16  # offsets in what the filter is shown
_CLONE_NEWUSER = 0x10000000
_X32 = 0x40000000

_CALLS = {
    0xC000003E: (56, 272, 435, 308),  # x86-64: clone, unshare, clone3, setns
    0x40000003: (120, 310, 435, 346),  # i386
    0xC00000B7: (220, 97, 435, 268),  # AArch64
}


def no_user_namespaces() -> Iterator[tuple[int, int, int, int]]:
    """A filter in whose range nobody makes a user namespace, where they could mount over our mounts.

    clone3 has its flags in memory, which a filter does not see: it is not there, and clone is used instead.
    """
    yield _LOAD, 0, 0, _ARCH
    for arch, (clone, unshare, clone3, setns) in _CALLS.items():
        yield _JUMP_EQUAL, 0, 12, arch
        yield _LOAD, 0, 0, _NUMBER
        yield _JUMP_FROM, 8, 0, _X32
        yield _JUMP_EQUAL, 7, 0, clone3
        yield _JUMP_EQUAL, 7, 0, setns
        yield _JUMP_EQUAL, 2, 0, clone
        yield _JUMP_EQUAL, 1, 0, unshare
        yield _RETURN, 0, 0, _ALLOW
        yield _LOAD, 0, 0, _ARGUMENT
        yield _JUMP_SET, 2, 0, _CLONE_NEWUSER
        yield _RETURN, 0, 0, _ALLOW
        yield _RETURN, 0, 0, _ERRNO | _ENOSYS
        yield _RETURN, 0, 0, _ERRNO | _EPERM
    yield _RETURN, 0, 0, _ERRNO | _ENOSYS
