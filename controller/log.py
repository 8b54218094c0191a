"""The controller's log: a line for each message, whatever is in it."""

import logging
import sys

from gshare.controller.units import printable


class OneLine(logging.Formatter):
    """What users name, and ask for, neither ends a line nor speaks to the terminal of who reads the log."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return printable(super().formatMessage(record))


def to_stderr() -> None:
    """From now on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
