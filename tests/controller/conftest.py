"""A controller's parts on a machine that a test makes up."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gshare.controller.context_size import ContextSizes
from gshare.controller.devices import Found
from gshare.controller.paths import Runtime
from gshare.controller.processes import start_ticks
from gshare.controller.protocol import Admit, Limits
from gshare.controller.registry import Registry
from gshare.controller.store import QuotaStore
from gshare.controller.tenants import Tenants

from .virtual import share_program, virtual  # noqa: F401

GIB = 1 << 30
CONTEXT_BYTES = GIB // 2


def device(index: int, memory_bytes: int = 80 * GIB, machine: str = "") -> Found:
    """A device of a made-up machine."""
    kind = 1 if machine else 0
    uuid = f"GPU-0000aaaa-0000-0000-{kind:04x}-{index:012x}"
    return Found(index, uuid, "Test", "1.0", machine, memory_bytes)


@dataclass
class House:
    """A registry over made-up machines, and programs that can be its tenants' processes."""

    runtime: Runtime
    state: Path
    machines: dict[str, list[Found]]
    registry: Registry = field(init=False)
    programs: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """A new controller's registry, without adoption."""
        self.registry = Registry(
            Tenants(self.runtime),
            QuotaStore(self.state),
            ContextSizes(self.state),
            lambda machine: self.machines.get(machine, []),
        )

    def program(self, tenant_dir: str = "") -> subprocess.Popen[bytes]:
        """A process that runs until it is killed, started into a tenant where one is named."""
        environment = {**os.environ, "GSHARE_TENANT_DIR": tenant_dir} if tenant_dir else dict(os.environ)
        command = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        assert child.stdout is not None
        child.stdout.readline()  # it has been executed: /proc shows the environment given here
        self.programs.append(child)
        return child

    def request(self, limits: Limits | None = None, **more: object) -> Admit:
        """The admission of a new program."""
        pid = self.program().pid
        ticks = start_ticks(pid)
        assert ticks is not None
        return Admit(pid, ticks, "/usr/bin/python3 x.py", limits or Limits(), **more)  # type: ignore[arg-type]

    def end(self, pid: int) -> None:
        """Kill one of the programs and wait until it is gone."""
        child = next(child for child in self.programs if child.pid == pid)
        child.kill()
        child.wait()


@pytest.fixture
def house() -> Iterator[House]:
    """One real device, 80 GiB; see House."""
    with tempfile.TemporaryDirectory(prefix="gshare-") as folder:
        runtime = Runtime(Path(folder) / "run")
        runtime.create()
        state = Path(folder) / "state"
        state.mkdir()
        sizes = {"schema": "gshare/contexts/v1", "context_bytes": {"Test 1.0": CONTEXT_BYTES}}
        (state / "contexts.json").write_text(json.dumps(sizes))
        made = House(runtime, state, {"": [device(0)]})
        yield made
        for child in made.programs:
            child.kill()
            child.wait()
        made.registry.tenants.close()


@pytest.fixture
def files() -> Callable[[Path], set[str]]:
    """All files under a folder, to see that nothing was written."""
    return lambda folder: {str(path.relative_to(folder)) for path in folder.rglob("*")}
