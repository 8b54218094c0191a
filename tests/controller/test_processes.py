"""A process is found by its number in its own PID namespace, though another may be like it in all else."""

import os
import subprocess
from pathlib import Path

import pytest

from gshare.controller.processes import host_pid, start_ticks
from gshare.shim import abi

NAMESPACE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
TELL = "echo; read line"


def child_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text())


def slot_of(pid: int, own_number: int) -> abi.SlotUsage:
    """Build what the process itself would have noted down."""
    space = os.stat(f"/proc/{pid}/ns/pid").st_ino
    return abi.SlotUsage(
        slot=0, pid=own_number, start_ticks=start_ticks(pid) or 0, pid_space=space, devices=()
    )


def test_a_process_of_this_namespace_is_itself() -> None:
    assert host_pid(slot_of(os.getpid(), os.getpid())) == os.getpid()


@pytest.mark.skipif(
    subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode != 0,
    reason="no PID namespace may be made here",
)
def test_processes_of_the_same_number_and_start_are_told_apart() -> None:
    """Sixteen that are started at once share some ticks of the clock."""
    pipe = subprocess.PIPE
    outer = [subprocess.Popen([*NAMESPACE, "sh", "-c", TELL], stdin=pipe, stdout=pipe) for _ in range(16)]
    for program in outer:
        assert program.stdout is not None
        assert program.stdout.readline() == b"\n"
    pids = [child_of(program.pid) for program in outer]
    slots = [slot_of(pid, 1) for pid in pids]
    found = [host_pid(slot) for slot in slots]
    unknown = [host_pid(slot._replace(pid_space=0)) for slot in slots]
    for program in outer:
        program.communicate(b"\n")
    assert len({slot.start_ticks for slot in slots}) < len(slots), "else there was nothing to tell apart"
    assert found == pids
    assert [slots[pids.index(pid)].start_ticks for pid in unknown] == [slot.start_ticks for slot in slots]
    assert [host_pid(slot) for slot in slots] == [1] * len(slots), "ended: as it called itself"
