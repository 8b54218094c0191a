"""The machine's own memory, which programs pin."""

import os


def memory_bytes() -> int:
    """All of it, whoever has it."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
