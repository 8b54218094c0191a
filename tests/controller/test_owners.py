"""A process belongs to the tenant in which it, or what it descends from, was started."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from gshare.controller import mounts
from gshare.controller.owners import NOBODY, OTHERS, owner
from gshare.shim.layout import HANDOVER_SOCKET

TENANTS = Path("/run/test/tenants")
OUTSIDE = "import sys; print(flush=True); sys.stdin.read()"
CHILD = """
import subprocess, sys
sleep = [sys.executable, "-c", "import sys; sys.stdin.read()"]
child = subprocess.Popen(sleep, env={}, stdin=subprocess.PIPE)  # returns once that is executed
print(child.pid, flush=True)
sys.stdin.read()
child.communicate()
"""

Start = Callable[..., "tuple[int, str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Return a function that starts a process which is not the controller's: its pid, and what it said."""
    with ExitStack() as ends:

        def run(code: str = OUTSIDE, tenant_dir: str | None = None) -> tuple[int, str]:
            environ = {name: value for name, value in os.environ.items() if name != "GSHARE_TENANT_DIR"}
            if tenant_dir is not None:
                environ["GSHARE_TENANT_DIR"] = tenant_dir
            child = subprocess.Popen(
                [sys.executable, "-c", code],
                env=environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            ends.callback(child.communicate)
            assert child.stdout is not None
            return child.pid, child.stdout.readline().strip()

        yield run


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str | None]:
    """Return owner() as a controller asks that is no ancestor of this test's processes."""
    here = os.getpid()

    def run(
        pid: int, runs: dict[int, str] | None = None, *, controller: int = -1, sole: bool = False
    ) -> str | None:
        monkeypatch.setattr(os, "getpid", lambda: controller)
        try:
            return owner(pid, TENANTS, runs or {}, sole=sole)
        finally:
            monkeypatch.setattr(os, "getpid", lambda: here)

    return run


def test_the_environment_names_the_tenant(start: Start, ask: Callable[..., str | None]) -> None:
    pid, _ = start(tenant_dir=f"{TENANTS}/a")
    assert ask(pid) == "a"


def test_who_dropped_the_environment_is_known_by_its_ancestors(
    start: Start, ask: Callable[..., str | None]
) -> None:
    _, child = start(CHILD, tenant_dir=f"{TENANTS}/a")
    assert ask(int(child)) == "a"


def test_a_run_is_known_by_its_pid(start: Start, ask: Callable[..., str | None]) -> None:
    pid, child = start(CHILD)
    assert ask(int(child), {pid: "b"}) == ask(pid, {pid: "b"}) == "b"


def test_another_controllers_process_is_not_nobodys(start: Start, ask: Callable[..., str | None]) -> None:
    pid, _ = start(tenant_dir="/run/other/tenants/a")
    assert ask(pid) is OTHERS


def test_who_says_to_be_anothers_is_nobodys_where_one_controller_is_for_all(
    start: Start, ask: Callable[..., str | None]
) -> None:
    """Else a word in the environment would hide whoever runs around gshare."""
    pid, child = start(CHILD, tenant_dir="/run/other/tenants/a")
    assert ask(pid, sole=True) == ask(int(child), sole=True) == NOBODY
    assert ask(int(child), {pid: "b"}, sole=True) == "b"


def test_what_the_controller_started_is_its_own(start: Start, ask: Callable[..., str | None]) -> None:
    pid, child = start(CHILD)
    assert ask(int(child), controller=pid) is OTHERS


def test_who_came_without_gshare_is_nobodys(start: Start, ask: Callable[..., str | None]) -> None:
    pid, _ = start(tenant_dir="")
    assert ask(pid) == ask(start()[0]) == NOBODY


def test_who_has_ended_is_nobodys(ask: Callable[..., str | None]) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert ask(ended.pid) == NOBODY


def test_who_may_not_be_in_the_tenant_it_names_is_nobodys(start: Start) -> None:
    pid, _ = start(tenant_dir=str(TENANTS / "team"))
    assert owner(pid, TENANTS, {}, lambda tenant, pid: tenant != "team") in (NOBODY, OTHERS)
    assert owner(pid, TENANTS, {}) == "team"


ORPHAN = """
mount -t tmpfs none /run
mkdir -p /run/gshare/self
mount --bind "$1" /run/gshare/self
exec 3<&0
env -i "$2" -c 'import os; print(os.getpid(), flush=True); os.read(3, 1)' &
"""


@pytest.mark.skipif(
    os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], check=False).returncode != 0,
    reason="needs root, and the right to mount",
)
def test_who_is_confined_and_dropped_all_else_is_known_by_its_mounts(tmp_path: Path) -> None:
    """As `gshare run --strict sh -c 'env -i python x.py &'` leaves it."""
    tenants = tmp_path / "tenants"
    (tenants / "a").mkdir(parents=True)
    command = ["unshare", "-m", "sh", "-ec", ORPHAN, "sh", str(tenants / "a"), sys.executable]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdout is not None
        pid = int(shell.stdout.readline())
        assert shell.wait() == 0
        assert owner(pid, tenants, {}) == "a"
        assert owner(pid, tmp_path / "others", {}) == NOBODY
        assert owner(pid, tenants, {}, lambda tenant, pid: False) == NOBODY


@pytest.mark.parametrize("entry", ["limits", HANDOVER_SOCKET])
def test_who_is_confined_sees_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str) -> None:
    """To a tenant of one's own controller, or of the machine's, whose memory has no names."""
    monkeypatch.setattr(mounts, "SELF", str(tmp_path))
    assert not mounts.confined()
    (tmp_path / entry).touch()
    assert mounts.confined()
