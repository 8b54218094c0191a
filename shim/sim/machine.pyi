from typing import Any

PROFILES: tuple[str, ...]

class MachineError(Exception):
    """The machine's file cannot be used; the message names it and says why."""

def default_path() -> str:
    """Where the machine is: SIMGPU_MACHINE, or a place of this user's in shared memory."""

def create(path: str, profile: str) -> list[str]:
    """Make the machine with the devices of `profile` unless it exists; return the profiles of its devices."""

def occupants(path: str) -> dict[str, dict[int, tuple[int, int]]]: ...
def stat(path: str, virtual_ns: int = 0) -> dict[str, Any]:
    """What the machine has done so far: times in nanoseconds, memory in bytes."""
