"""Permanent tenants in a small SQLite database in the state directory: a change is there whole or not at all.

The journal is SQLite's oldest kind, and all of it is on the disk before anything is overwritten.  A
write-ahead log would be faster where nothing here is slow, and needs two more files before it can even be
read, which a full disk has no room for.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gshare.controller.errors import GshareError
from gshare.controller.files import read_json
from gshare.controller.permanent import Damaged, Permanent, checked, of_row, to_row

VERSION = 1
BUSY_S = 2.0
"""Only a controller writes; one that goes while the next one comes may have the file for a moment."""

JSON_SCHEMA = "gshare/quotas/v1"
"""Of the file that earlier versions kept them in."""

MEND = "mend it, or move it aside to start afresh"


class QuotaStore:
    """The permanent tenants by name, as last written by whichever controller."""

    def __init__(self, state_directory: Path) -> None:
        self.path = state_directory / "gshare.sqlite"
        self.json_path = state_directory / "quotas.json"
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._seen: tuple[int, dict[str, Permanent]] | None = None
        """What was read last, and SQLite's number for that state of the file."""

    def load(self) -> dict[str, Permanent]:
        """Return all of them; raise GshareError where the file cannot be understood."""
        if not self.path.exists():
            self.close()
            return self._earlier()
        with self._readable() as connection:
            (number,) = connection.execute("PRAGMA data_version").fetchone()
            if self._seen is None or self._seen[0] != number:
                self._seen = (number, self._read(connection))
            return dict(self._seen[1])

    def put(self, tenant: str, permanent: Permanent) -> None:
        """Write one; on failure everything stays as it was."""
        self._write({**self.load(), tenant: permanent})

    def remove(self, tenant: str) -> None:
        """Forget one; on failure everything stays as it was."""
        self._write({name: permanent for name, permanent in self.load().items() if name != tenant})

    def close(self) -> None:
        """Let go of the file."""
        if self._connection is not None:
            self._connection.close()
        self._connection = self._seen = None

    def _write(self, tenants: dict[str, Permanent]) -> None:
        rows = [(name, to_row(permanent)) for name, permanent in sorted(tenants.items())]
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
            connection = self._open()
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("CREATE TABLE IF NOT EXISTS tenant (name TEXT PRIMARY KEY, row TEXT NOT NULL)")
            connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.execute("DELETE FROM tenant")
            connection.executemany("INSERT INTO tenant VALUES (?, ?)", rows)
            connection.execute("COMMIT")
        except (OSError, sqlite3.Error) as error:
            self.close()  # which rolls back what has been begun
            with suppress(OSError):
                if not self.path.stat().st_size:
                    self.path.unlink()
            why = error.strerror if isinstance(error, OSError) else str(error)
            hint = f"free some space in {self.path.parent}"
            raise GshareError(str(self.path), f"cannot be written: {why}", hint) from None
        self._seen = None
        with suppress(OSError):  # it is not looked at again in any case
            os.replace(self.json_path, self.json_path.with_name("quotas.json.moved"))

    @contextmanager
    def _readable(self) -> Iterator[sqlite3.Connection]:
        try:
            yield self._open()
        except sqlite3.OperationalError as error:
            self.close()
            raise GshareError(str(self.path), f"cannot be read: {error}") from None
        except sqlite3.Error as error:
            self.close()
            raise GshareError(str(self.path), f"damaged: {error}", MEND) from None

    def _open(self) -> sqlite3.Connection:
        """The file as it is found now: somebody may have put another in its place."""
        status = os.stat(self.path)
        if self._connection is None or self._file != (status.st_dev, status.st_ino):
            self.close()
            uri = f"{self.path.absolute().as_uri()}?mode=rw"
            self._connection = sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None)
            self._file = (status.st_dev, status.st_ino)
            self._connection.execute("PRAGMA synchronous = EXTRA")
        return self._connection

    def _read(self, connection: sqlite3.Connection) -> dict[str, Permanent]:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == 0:  # made, and nothing was ever written
            return self._earlier()
        if version != VERSION:
            raise GshareError(str(self.path), f"is of version {version}, this gshare writes {VERSION}")
        found = {}
        for name, row in connection.execute("SELECT name, row FROM tenant ORDER BY name"):
            try:
                found[name] = of_row(row)
            except Damaged as damage:
                raise GshareError(str(self.path), f"the quota of {name} is damaged: {damage}", MEND) from None
        return found

    def _earlier(self) -> dict[str, Permanent]:
        """What an earlier version has written; moved aside as soon as it is in the database."""
        content = read_json(self.json_path)
        if not content:
            return {}
        if content.get("schema") != JSON_SCHEMA:
            why = f"is of schema {content.get('schema')}, this gshare reads {JSON_SCHEMA}"
            raise GshareError(str(self.json_path), why)
        quotas = content.get("quotas")
        if not isinstance(quotas, dict):
            raise GshareError(str(self.json_path), "damaged: no quotas in it", MEND)
        found = {}
        for name, row in quotas.items():
            try:
                found[name] = checked(row)
            except Damaged as damage:
                why = f"the quota of {name} is damaged: {damage}"
                raise GshareError(str(self.json_path), why, MEND) from None
        return found
