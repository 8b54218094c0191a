"""The devices of each machine as policy sees them: their memory, and what one context takes of it."""

from gshare.controller.context_size import ContextSizes
from gshare.controller.devices import REAL, Found, Inventory, preview_simulated, start_simulated
from gshare.controller.policy import Capacity
from gshare.controller.protocol import Admit, Limits

Known = list[tuple[Found, Capacity]]
"""A machine's devices, in the order of their numbers."""


class Capacities:
    """Looks devices up; measures contexts where that has not been done yet."""

    def __init__(self, inventory: Inventory, contexts: ContextSizes) -> None:
        self.inventory = inventory
        self.contexts = contexts

    async def prepare(self, request: Admit) -> None:
        """Start the simulated machine that a run asks for; measure a context, which programs will be charged.

        A run without limits on a real device does not wait for that: what it is charged limits nothing.
        """
        if request.simulated and not request.dry_run:
            start_simulated(request.simulated.machine, request.simulated.profile)
        if request.simulated or request.tenant or request.limits != Limits():
            for device in self._devices(request):
                await self.contexts.measure(device)

    async def measure(self, machine: str) -> None:
        """Measure, where that has not been done yet, what a context takes on the machine's devices."""
        for device in self.inventory(machine):
            await self.contexts.measure(device)

    def known(self, machine: str) -> Known:
        """The devices of a machine."""
        return self._with_capacity(self.inventory(machine))

    def wanted(self, request: Admit) -> Known:
        """The devices of the machine that a run is for; for a dry run, those it would have if started."""
        return self._with_capacity(self._devices(request))

    def _devices(self, request: Admit) -> list[Found]:
        machine = machine_of(request)
        found = self.inventory(machine)
        if not found and request.dry_run and request.simulated:
            return preview_simulated(machine, request.simulated.profile)
        return found

    def _with_capacity(self, devices: list[Found]) -> Known:
        return [
            (device, Capacity(device.index, device.uuid, device.memory_bytes, self.contexts.known(device)))
            for device in devices
        ]


def machine_of(request: Admit) -> str:
    """The machine that a run is for."""
    return request.simulated.machine if request.simulated else REAL


def alone(known: Known) -> list[Capacity]:
    """The devices as policy sees them."""
    return [capacity for _, capacity in known]
