"""A terminal for a program to draw on, and what is seen there."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable

import pytest

from .conftest import GSHARE, Home


class Terminal:
    """A program in a terminal of 80 by 24."""

    def __init__(self, home: Home, *words: str, term: str = "xterm-256color") -> None:
        pyte = pytest.importorskip("pyte", reason="needs pyte, which is what a terminal would draw")
        self.screen = pyte.Screen(80, 24)
        self.stream = pyte.ByteStream(self.screen)
        self.said = b""
        self.master, slave = pty.openpty()
        self.slave = slave
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.before = termios.tcgetattr(slave)
        environment = {**home.environment, "TERM": term}
        self.child = subprocess.Popen(
            [*GSHARE, *words],
            env=environment,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )

    def read(self, seconds: float) -> None:
        if select.select([self.master], [], [], seconds)[0]:
            data = os.read(self.master, 65536)
            self.said += data
            self.stream.feed(data)

    def wait_for(self, seen: Callable[[str], bool], seconds: float = 30) -> str:
        until = time.monotonic() + seconds
        while not seen(self.text) and time.monotonic() < until:
            self.read(0.1)
        assert seen(self.text), self.text
        return self.text

    @property
    def text(self) -> str:
        return "\n".join(self.screen.display)

    def press(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def end(self) -> int:
        """Wait until the program has ended; the terminal is as it was."""
        until = time.monotonic() + 30
        while self.child.poll() is None and time.monotonic() < until:
            self.read(0.1)
        self.read(0)
        assert termios.tcgetattr(self.slave) == self.before
        assert self.said.count(b"\x1b[?1049l") == self.said.count(b"\x1b[?1049h") == 1
        assert self.said.count(b"\x1b[?25h") >= self.said.count(b"\x1b[?25l")
        assert self.child.returncode is not None
        return self.child.returncode

    def close(self) -> None:
        self.child.kill()
        self.child.wait()
        os.close(self.master)
        os.close(self.slave)
