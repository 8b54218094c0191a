"""What tests of how processes end share: a process that asks for what others have left, and ones that end."""

from __future__ import annotations

import os
import select
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tenants import MIB, Tenant

OUT_OF_MEMORY = 2

ASK = """
start(); out(0)
for line in sys.stdin:
    code, p = alloc(int(line))
    out(code or free(p))
"""


class Other:
    """A process of the tenant that asks for memory, once each time, and gives it back."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self.program = tenant.start(ASK)
        assert line_of(self.program) == "0"

    @property
    def whole_bytes(self) -> int:
        """All that one process can have beside its context."""
        return self.tenant.limits.device(0).memory_limit_bytes - self.tenant.context_bytes[0]

    def ask(self, bytes_: int) -> int:
        """What one attempt to have so much is answered."""
        assert self.program.stdin is not None
        self.program.stdin.write(f"{bytes_}\n")
        self.program.stdin.flush()
        return int(line_of(self.program))

    def finds_all(self) -> None:
        """Nothing is anybody else's, to the byte, at the first attempt; and nothing is left in the books."""
        assert self.ask(self.whole_bytes) == 0
        assert self.ask(self.whole_bytes + 1) == OUT_OF_MEMORY
        usage = self.tenant.usage
        assert usage.device(0).used_bytes == self.tenant.context_bytes[0]
        assert [slot.pid for slot in usage.slots(0)] == [self.program.pid]

    def was_within(self) -> None:
        """Never has all of the tenant been charged more than it was granted."""
        limit = self.tenant.limits.device(0).memory_limit_bytes
        assert 0 < self.tenant.usage.device(0).peak_bytes <= limit

    def finds_all_but(self, bytes_: int) -> None:
        assert self.ask(self.whole_bytes - bytes_ + 1) == OUT_OF_MEMORY
        assert self.ask(self.whole_bytes - bytes_) == 0


def line_of(program: subprocess.Popen[str]) -> str:
    """The next line that the program, or a child of it, tells; without one, what it says went wrong."""
    assert program.stdout is not None
    line = program.stdout.readline().strip()
    if not line:
        with suppress(subprocess.TimeoutExpired):  # it is about to end, or goes on
            program.wait(timeout=10)
        program.kill()
        raise AssertionError(program.communicate()[1])
    return line


def wait_for_end(pid: int) -> None:
    """Whoever's child it is."""
    descriptor = os.pidfd_open(pid)
    assert select.select([descriptor], [], [], 60)[0]
    os.close(descriptor)


@contextmanager
def holding(tenant: Tenant, then: str = "", bytes_: int = 300 * MIB) -> Iterator[subprocess.Popen[str]]:
    """Start a process that holds memory; it has ended when this has."""
    code = f"start(); assert alloc({bytes_})[0] == 0\n{then}\nout(os.getpid()); sys.stdin.read()"
    program = tenant.start(code)
    try:
        yield program
    finally:
        program.kill()
        program.communicate()
