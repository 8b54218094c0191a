"""The configuration in force: read at the start, and again whenever its file changes or somebody asks.

A file with something wrong in it changes nothing: what was in force stays, also for the next controller.
"""

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from gshare.controller import config_file
from gshare.controller.config import Config
from gshare.controller.errors import GshareError
from gshare.controller.files import write_text
from gshare.controller.paths import Runtime
from gshare.controller.replies import Wrong

VARIABLE = "GSHARE_CONFIG"
MACHINE_WIDE = Path("/etc/gshare/gshare.toml")
NAME = "gshare.toml"
LAST_GOOD = "gshare.toml.last-good"

log = logging.getLogger(__name__)


def path(where: Runtime) -> Path:
    """The file of the machine's controller, or of the user's own."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    if where.machine_wide:
        return MACHINE_WIDE
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "gshare" / NAME


class Settings:
    """One controller's configuration; nothing is configured where there is no file."""

    def __init__(self, file: Path | None = None, state_directory: Path | None = None) -> None:
        self.file = file
        self.last_good = state_directory / LAST_GOOD if state_directory else None
        self.config = Config()
        self.on_change: Callable[[Config, list[Wrong]], None] = lambda config, notes: None
        """A file was taken over; with what of it means less than it seems to."""
        self.on_refusal: Callable[[list[Wrong]], None] = lambda wrong: None
        self._seen: tuple[int, ...] | None = None
        self._looked: tuple[int, ...] | None = ()

    def start(self) -> None:
        """Read the file; where it cannot be used, what was last in force, else raise GshareError."""
        self._seen = self._signature()
        config, wrong = self._read()
        if config is None:
            self.on_refusal(wrong)
            config, wrong = self._read_last_good(wrong)
        self._take(config, wrong)

    def look(self) -> None:
        """Read the file again if it is not as it was, and nobody has written it since the last look.

        Half of a file may be a configuration, too: without the ceilings that are written next.
        """
        before, self._looked = self._looked, self._signature()
        if self._looked == before != self._seen:
            self.reload()

    def reload(self) -> list[Wrong]:
        """Read the file again, and return what is wrong with it."""
        self._seen = self._signature()
        config, wrong = self._read()
        if config is None:
            self.on_refusal(wrong)
        else:
            self._take(config, wrong)
        return wrong

    def _read(self) -> tuple[Config | None, list[Wrong]]:
        if self.file is None or not self.file.exists():
            return Config(), []
        return config_file.read(self.file)

    def _read_last_good(self, wrong: list[Wrong]) -> tuple[Config, list[Wrong]]:
        if self.last_good and self.last_good.exists():
            config, notes = config_file.read(self.last_good)
            if config is not None:
                log.warning("what is in %s is in force instead", self.last_good)
                return config, notes
        raise GshareError(str(self.file), str(wrong[0]), f"gshare controller check-config {self.file}")

    def _take(self, config: Config, notes: list[Wrong]) -> None:
        self.config = config
        if self.last_good and self.file:
            with suppress(GshareError, OSError):  # it only helps a later controller
                if config.text:
                    write_text(self.last_good, config.text)
                else:
                    self.last_good.unlink(missing_ok=True)
        self.on_change(config, notes)

    def _signature(self) -> tuple[int, ...] | None:
        """What is different once somebody has written the file, or put another in its place."""
        if self.file is None:
            return None
        try:
            status = os.stat(self.file)
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino, status.st_mode, status.st_uid
