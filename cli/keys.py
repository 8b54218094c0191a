"""A terminal that gives single keys, and is afterwards as it was."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from gshare.cli.top_model import BACKSPACE, DOWN, ENTER, ESCAPE, UP

_SEQUENCES = {"\x1b[A": UP, "\x1b[B": DOWN, "\x1bOA": UP, "\x1bOB": DOWN}
_NAMES = {"\x1b": ESCAPE, "\r": ENTER, "\n": ENTER, "\x7f": BACKSPACE, "\b": BACKSPACE}
READ_BYTES = 256

GONE = "q"
"""What a terminal that is not there any more says."""


@contextmanager
def single_keys() -> Iterator[None]:
    """Keys come one by one and unseen; SIGTERM and SIGHUP leave by the same way as an exception.

    Nobody stops us (^Z) halfway, with the terminal not as the shell wants it.
    """
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    handlers = {number: signal.signal(number, _leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    handlers[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    try:
        tty.setcbreak(descriptor)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSAFLUSH, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def keys(timeout_s: float) -> list[str]:
    """What was pressed, as soon as anything is, or nothing after that long."""
    if not select.select([sys.stdin], [], [], timeout_s)[0]:
        return []
    data = os.read(sys.stdin.fileno(), READ_BYTES)
    return split(data.decode(errors="replace")) if data else [GONE]


def split(text: str) -> list[str]:
    """Characters as keys; what a terminal sends for others is left out."""
    found = []
    while text:
        sequence = text[:3]
        if sequence in _SEQUENCES:
            found.append(_SEQUENCES[sequence])
            text = text[3:]
        elif text[:2] in ("\x1b[", "\x1bO"):
            end = next((at for at, c in enumerate(text[2:], 2) if c.isalpha() or c == "~"), len(text) - 1)
            text = text[end + 1 :]
        else:
            found.append(_NAMES.get(text[0], text[0]))
            text = text[1:]
    return found


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)
