"""Small files, read whole and replaced whole, so that neither a kill nor a full disk leaves half of one."""

import errno
import json
import os
import struct
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from gshare.controller.errors import GshareError


def write_json(path: Path, content: dict[str, Any], *, durable: bool = True) -> None:
    """Replace `path` by `content`; see write_text."""
    write_text(path, json.dumps(content, indent=1) + "\n", durable=durable)


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Replace `path` by `text`; with `durable`, only once that is on the disk.

    What is no file, as /dev/null or a pipe, is written to, and a link stays one.
    Raises GshareError, with the old file untouched, where it cannot be written.
    """
    path = Path(os.path.realpath(path))
    temporary = Path(f"{path}.{os.getpid()}.tmp")
    try:
        if path.exists() and not path.is_file():
            path.write_text(text, encoding="utf-8")
            return
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise cannot_write(path, error) from None


def open_log(path: Path) -> int:
    """A descriptor that appends to a file that only its user reads; raise GshareError where it cannot."""
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise cannot_write(path, error) from None


def read_json(path: Path) -> dict[str, Any]:
    """Return the content, empty where there is no file; raise GshareError for one that cannot be used."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise GshareError(str(path), f"cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise GshareError(str(path), f"damaged: {error}", "mend it, or remove it to start afresh") from None
    if not isinstance(content, dict):
        raise GshareError(str(path), "damaged: not an object", "mend it, or remove it to start afresh")
    return content


_ACL = "system.posix_acl_access"
_ACL_VERSION = 2
_OWNER, _USER, _OWNING_GROUP, _GROUP, _MASK, _OTHERS = (1 << bit for bit in range(6))
_READ_WRITE = 6
_NO_ID = (1 << 32) - 1


def only_for(path: str, users: Iterable[int], groups: Iterable[int]) -> None:
    """Let its owner, these users and groups connect to a socket; all, where files have no such lists."""
    entries = [
        (_OWNER, _READ_WRITE, _NO_ID),
        *((_USER, _READ_WRITE, uid) for uid in sorted(set(users))),
        (_OWNING_GROUP, 0, _NO_ID),
        *((_GROUP, _READ_WRITE, gid) for gid in sorted(set(groups))),
        (_MASK, _READ_WRITE, _NO_ID),
        (_OTHERS, 0, _NO_ID),
    ]
    packed = b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(path, _ACL, struct.pack("<I", _ACL_VERSION) + packed)
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        os.chmod(path, 0o666)


def cannot_write(path: Path, error: OSError) -> GshareError:
    """The error that names the file, the reason and the way out."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    hint = f"free some space in {path.parent}" if full else ""
    return GshareError(str(path), f"cannot be written: {error.strerror}", hint)
