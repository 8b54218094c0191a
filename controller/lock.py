"""Only one controller per runtime directory: a lock that ends with its holder, however that ends."""

import fcntl
import os
import struct
from pathlib import Path
from types import TracebackType

from gshare.controller.errors import GshareError
from gshare.controller.files import cannot_write

_FLOCK = "hhqqi4x"


class ControllerLock:
    """The controller's lock, held for as long as it lives; the file holds its pid for people to read."""

    def __init__(self, path: Path) -> None:
        self.taken = False
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise cannot_write(path, error) from None
        try:
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _whole_file(fcntl.F_WRLCK))
        except BlockingIOError:
            return
        except OSError as error:
            os.close(self._fd)
            raise GshareError(
                str(path), f"cannot be locked: {error.strerror}", "use a local file system"
            ) from None
        self.taken = True
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            raise cannot_write(path, error) from None

    def __enter__(self) -> "ControllerLock":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)


def controller_lives(path: Path) -> bool:
    """Whether a controller holds the lock; asking does not take it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise GshareError(str(path), f"cannot be read: {error.strerror}") from None
    try:
        answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _whole_file(fcntl.F_WRLCK))
    finally:
        os.close(fd)
    return bool(struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK)


def controller_pid(path: Path) -> int | None:
    """The pid that the holder of the lock wrote down."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _whole_file(kind: int) -> bytes:
    return struct.pack(_FLOCK, kind, os.SEEK_SET, 0, 0, 0)
