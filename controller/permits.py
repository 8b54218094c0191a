"""Every request, held against who asks: let through as it is, in their own terms, or not at all."""

import os

import msgspec

from gshare.controller import authority, protocol
from gshare.controller.errors import GshareError, NotPermitted
from gshare.controller.identity import Peer
from gshare.controller.processes import is_own_child, start_ticks
from gshare.controller.registry import Registry

ANSWERS_ARE_CUT = (
    protocol.GetStatus,
    protocol.GetProcesses,
    protocol.GetMemory,
    protocol.GetShares,
    protocol.GetTop,
    protocol.GetEvents,
    protocol.GetQueue,
    protocol.GetQuotas,
)
"""Everybody may ask these: visible.py leaves out of the answers what is not theirs."""

MACHINE_VARIABLE = "SIMGPU_MACHINE"


def permitted(who: Peer, request: protocol.Request, registry: Registry) -> protocol.Request:
    """The request that is to be carried out; raise NotPermitted where it concerns what is not theirs.

    A kind of request that nothing is said about here is for administrators.
    """
    if who.administrator or isinstance(request, ANSWERS_ARE_CUT):
        return request
    if isinstance(request, protocol.Admit):
        if request.simulated:
            _check_machine(request.simulated.machine)
        pid = request.pid if is_own_child(who.pid, request.pid) else who.pid
        return msgspec.structs.replace(request, pid=pid, start_ticks=_started(pid))
    if isinstance(request, protocol.OpenWeb):
        return request  # where it is, everybody is told; server.py has an administrator open it
    if isinstance(request, protocol.GetDevices):
        if request.machine:
            _check_machine(request.machine)
        return request
    if isinstance(request, protocol.SetLimits | protocol.Pause):
        what = "set" if isinstance(request, protocol.SetLimits) else "pause" if request.paused else "resume"
        name = registry.target(request.target, what, who).name
        owned = registry.ownership(name)
        assert owned  # it runs
        if isinstance(request, protocol.SetLimits):
            authority.check_change(who, name, owned)
        else:
            authority.check_pause(who, what, name, owned)
        return msgspec.structs.replace(request, target=name)
    authority.check_administrator(who, type(request).__name__)
    return request


def _check_machine(machine: str) -> None:
    """A simulated machine is a file, which the controller maps: only its own administrator names one."""
    if machine != os.environ.get(MACHINE_VARIABLE):
        raise NotPermitted(
            f"simulated machine {machine}",
            "is not this controller's",
            "GSHARE_RUNTIME_DIR names a directory for a controller of your own",
        )


def _started(pid: int) -> int:
    """When the process was started that becomes the program, or a shell that goes on as the tenant's."""
    ticks = start_ticks(pid) if pid else None
    if ticks is None:
        raise GshareError("run", f"process {pid} cannot be seen", "run it where the controller is")
    return ticks
