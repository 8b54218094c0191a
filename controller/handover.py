"""The controller's end of the keeper: tenants' memory without names, sealed, and known to both of them.

What either of them holds survives the other: a new controller is given all by the keeper, and a
keeper that has ended is replaced by one that is given all by the controller.
"""

import asyncio
import fcntl
import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from gshare.controller.authority import Ownership
from gshare.controller.errors import GshareError, OverCapacity
from gshare.controller.files import cannot_write, only_for, open_log
from gshare.controller.identity import Credentials
from gshare.controller.keeper import MOST_BYTES, PATIENCE_S, SEGMENT, TENANT, Kept
from gshare.controller.launch import controller_environment
from gshare.shim import abi

MOST_SEGMENTS_EACH = 16
"""Of one user but root: nobody shall keep others from theirs."""

BACKLOG = 1024
SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL

log = logging.getLogger(__name__)


class Keeping:
    """What is kept for the tenants of one runtime directory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._loop: asyncio.AbstractEventLoop | None = None
        self.kept: dict[str, Kept] = {}
        self.on_refusal: Callable[[str, Credentials], None] = lambda tenant, who: None
        """Somebody connected to the socket of a tenant that they may not run in."""
        self._socket = self._reach() or self._start()
        self._take_all()
        for number in range(abi.SEGMENTS):
            if _segment(number) not in self.kept:
                self._new_segment(number)

    def listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Hear what the keeper tells as soon as it does, its end among it."""
        self._loop = loop
        loop.add_reader(self._socket, self._hear)

    def _hear(self) -> None:
        try:
            data = self._socket.recv(MOST_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._heard(json.loads(data))
        else:
            self._replace()

    def activity(self) -> abi.Activity:
        """The machine's activity file."""
        return abi.Activity.of_segments([self.kept[_segment(n)].descriptors[0] for n in range(abi.SEGMENTS)])

    def renew(self) -> bool:
        """Make all segments anew where many have had a user; only while nobody runs who looks at them."""
        had = [_segment(n) for n in range(abi.SEGMENTS) if self._domain(n) is not None]
        if len(had) <= abi.SEGMENTS // 2:
            return False
        for number in range(abi.SEGMENTS):
            self._new_segment(number)
        return True

    def _domain(self, number: int) -> str | None:
        domain: str | None = self.kept[_segment(number)].meta["domain"]
        return domain

    def index(self, taken: Collection[int], name: str, owned: Ownership) -> int:
        """A place in the activity file for a new tenant, beside none of another user's."""
        domains = [self._domain(number) for number in range(abi.SEGMENTS)]
        shared = owned.members or owned.groups
        domain = f"tenant {name}" if shared else f"uid {owned.uid}"
        most = abi.SEGMENTS if owned.uid == os.geteuid() else MOST_SEGMENTS_EACH
        index = place(domains, taken, domain, most)
        if index is None:
            raise OverCapacity(
                f"tenant {name}", "there is no place for another user's tenants", "wait until all have ended"
            )
        segment = index // abi.SEGMENT_TENANTS
        if domains[segment] != domain:
            self._put(_segment(segment), {"domain": domain}, self.kept[_segment(segment)].descriptors)
        return index

    def put(self, name: str, index: int, owned: Ownership, folder: Path) -> dict[str, Path]:
        """Take the limits and the usage out of a tenant's folder, and leave a socket to ask for them at."""
        meta = {
            "owner": owned.uid,
            "members": sorted(owned.members),
            "groups": sorted(owned.groups),
            "segment": _segment(index // abi.SEGMENT_TENANTS),
            "segments": [_segment(number) for number in range(abi.SEGMENTS)],
            "handed": abi.handed_over(index // abi.SEGMENT_TENANTS).hex(),
        }
        descriptors = [_listener(folder, owned)]
        try:
            for part in ("limits", "usage"):
                descriptors.append(_sealed(folder / part))
        except BaseException:
            for descriptor in descriptors:
                os.close(descriptor)
            raise
        self._put(f"{TENANT}{name}", meta, descriptors)
        return self.parts(name)

    def names(self) -> list[str]:
        """The tenants whose memory is kept."""
        return [key.removeprefix(TENANT) for key in self.kept if key.startswith(TENANT)]

    def allow(self, name: str, owned: Ownership, folder: Path) -> None:
        """Change who may run in a tenant from now on."""
        kept = self.kept[f"{TENANT}{name}"]
        who = {"owner": owned.uid, "members": sorted(owned.members), "groups": sorted(owned.groups)}
        if any(kept.meta[key] != value for key, value in who.items()):
            with suppress(OSError):  # then who may not is refused by the keeper, and who may is not reached
                _open_to(str(folder / abi.HANDOVER_SOCKET), owned)
            self._put(f"{TENANT}{name}", {**kept.meta, **who}, kept.descriptors)

    def parts(self, name: str) -> dict[str, Path]:
        """Where a tenant's limits and usage can be opened; raise GshareError where they are lost."""
        kept = self.kept.get(f"{TENANT}{name}")
        if kept is None:
            raise GshareError(f"tenant {name}", "its memory is lost", "end its programs and start them again")
        _, limits, usage = kept.descriptors
        return {"limits": Path(f"/proc/self/fd/{limits}"), "usage": Path(f"/proc/self/fd/{usage}")}

    def drop(self, name: str) -> None:
        """A tenant has ended."""
        kept = self.kept.pop(f"{TENANT}{name}", None)
        if kept:
            for descriptor in kept.descriptors:
                os.close(descriptor)
            self._ask({"key": f"{TENANT}{name}"}, [])

    def close(self) -> None:
        """Let go of it all; the keeper does not."""
        if self._loop:
            self._loop.remove_reader(self._socket)
        self._socket.close()
        for kept in self.kept.values():
            for descriptor in kept.descriptors:
                os.close(descriptor)
        self.kept = {}

    def _new_segment(self, number: int) -> None:
        key = _segment(number)
        old = self.kept.pop(key, None)
        self._put(key, {"domain": None}, [_memory("gshare-activity", abi.segment())])
        for descriptor in old.descriptors if old else []:
            os.close(descriptor)

    def _put(self, key: str, meta: dict[str, Any], descriptors: list[int]) -> None:
        self.kept[key] = Kept(meta, descriptors)
        self._ask({"key": key, "meta": meta}, descriptors)

    def _ask(self, message: dict[str, Any], descriptors: list[int]) -> None:
        """Wait until it is done: who is admitted is handed the memory."""
        try:
            socket.send_fds(self._socket, [json.dumps(message).encode()], descriptors)
            while (heard := self._received()).get("done") != message["key"]:
                self._heard(heard)
        except (OSError, EOFError):
            self._replace()

    def _received(self) -> dict[str, Any]:
        data = self._socket.recv(MOST_BYTES)
        if not data:
            raise EOFError
        message = json.loads(data)
        assert isinstance(message, dict)
        return message

    def _heard(self, message: dict[str, Any]) -> None:
        if "refused" in message:
            self.on_refusal(message["refused"], Credentials(message["uid"], message["gid"], message["pid"]))

    def _take_all(self) -> None:
        while True:
            data, descriptors, _, _ = socket.recv_fds(self._socket, MOST_BYTES, 8)
            if not data:
                raise GshareError("keeper", "ended while it was asked")
            message = json.loads(data)
            if "all" in message:
                return
            self.kept[message["key"]] = Kept(message["meta"], descriptors)

    def _reach(self) -> socket.socket | None:
        """The keeper of an earlier controller; None where there is none."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.settimeout(PATIENCE_S)
        try:
            connection.connect(str(self._path))
        except OSError:
            connection.close()
            return None
        return connection

    def _start(self) -> socket.socket:
        """A keeper of our own, which holds nothing yet."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            try:
                self._path.unlink(missing_ok=True)
                listener.bind(str(self._path))
            except OSError as error:
                raise cannot_write(self._path, error) from None
            listener.listen()
            errors = open_log(self._path.with_suffix(".log"))  # not ours: it outlives who waits for their end
            subprocess.Popen(
                [sys.executable, "-m", "gshare.controller.keeper"],
                stdin=listener.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
                env=controller_environment(dict(os.environ)),
                cwd="/",
            )
            os.close(errors)
        connection = self._reach()
        if connection is None:
            raise GshareError("keeper", "does not start")
        return connection

    def _replace(self) -> None:
        log.warning("the keeper has ended; another one takes its place")
        if self._loop:
            self._loop.remove_reader(self._socket)
        self._socket.close()
        self._socket = self._start()
        if self._loop:
            self._loop.add_reader(self._socket, self._hear)
        while "all" not in self._received():
            continue
        for key, kept in self.kept.items():
            socket.send_fds(
                self._socket, [json.dumps({"key": key, "meta": kept.meta}).encode()], kept.descriptors
            )
            while self._received().get("done") != key:
                continue


def _segment(number: int) -> str:
    """Its key: programs of another version of shared memory go on with segments of their own."""
    return f"{SEGMENT}{abi.VERSION}/{number}"


def place(
    domains: Sequence[str | None], taken: Collection[int], domain: str, most: int = MOST_SEGMENTS_EACH
) -> int | None:
    """The first free index in a segment of this domain, or in one of nobody's; None: there is none left."""
    each = abi.SEGMENT_TENANTS
    own = [number for number, owner in enumerate(domains) if owner == domain]
    fresh = [number for number, owner in enumerate(domains) if owner is None]
    segments = own + (fresh[:1] if len(own) < most else [])
    indices = (number * each + i for number in segments for i in range(each))
    return next((index for index in indices if index not in taken), None)


def _memory(name: str, content: bytes) -> int:
    """Memory with this content, all of it really there, whose size nobody changes."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.fchmod(descriptor, 0o600)  # who is handed it for reading does not open it for writing
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, SEALS)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _sealed(path: Path) -> int:
    """A file's content as memory; the file goes."""
    descriptor = _memory(f"gshare-{path.name}", path.read_bytes())
    path.unlink()
    return descriptor


def _open_to(path: str, owned: Ownership) -> None:
    """Nobody else takes a place in the line of those who connect: the keeper, who asks again, has but one."""
    only_for(path, (0, owned.uid, *owned.members), owned.groups)


def _listener(folder: Path, owned: Ownership) -> int:
    """A socket in the folder, for those who may run in the tenant."""
    directory = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        name = f"/proc/self/fd/{directory}/{abi.HANDOVER_SOCKET}"  # whatever the folder's length
        listener.bind(name)
        _open_to(name, owned)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    finally:
        os.close(directory)
    with suppress(OSError):
        os.chmod(folder, 0o711)
    return listener.detach()
