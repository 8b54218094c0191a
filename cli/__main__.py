"""`gshare`, and `python -m gshare.cli`: what has to be so before the rest of it is loaded."""

import os
import signal
import sys
from io import TextIOWrapper
from typing import NoReturn

LAST_STANDARD = 2


def main() -> NoReturn:
    """Load the command line and be it."""
    interrupts = signal.getsignal(signal.SIGINT)
    if interrupts is signal.default_int_handler:  # Ctrl-C while that goes on: no traceback of imports
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.argv[1:2] != ["run"] and signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # or how our own children ended is not to be had
    open_standard_streams()
    from gshare.cli.main import main as command_line

    signal.signal(signal.SIGINT, interrupts)
    command_line()


def open_standard_streams() -> None:
    """Whoever started us with some of them closed gets nothing of ours into a file that takes their place.

    A program that we become finds them closed again.  What a locale has no letters for is written as `?`.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)) <= LAST_STANDARD:
        pass
    os.close(descriptor)
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, os.fdopen(number, "w", closefd=False))
        elif isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


if __name__ == "__main__":
    main()
