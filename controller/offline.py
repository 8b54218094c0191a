"""Decides about a run without a controller: for `--dry-run`, which starts and changes nothing."""

import asyncio
from contextlib import suppress

from gshare.controller import settings
from gshare.controller.context_size import ContextSizes
from gshare.controller.devices import Machines
from gshare.controller.errors import ControllerUnreachable, GshareError
from gshare.controller.paths import Runtime, state_directory
from gshare.controller.protocol import Admit
from gshare.controller.registry import Registry
from gshare.controller.replies import Admitted
from gshare.controller.store import QuotaStore
from gshare.controller.tenants import Tenants, folders


def decide(where: Runtime, request: Admit) -> Admitted:
    """The decision about `request`, which must be a dry run, beside the tenants that still run."""
    if where.machine_wide:
        raise ControllerUnreachable("the machine's controller", "does not run", "systemctl start gshare")
    tenants = Tenants(where)
    if where.tenants.is_dir():
        for name in folders(where.tenants):
            with suppress(GshareError):
                tenants.adopt(name)
    living = tenants.processes() if tenants.by_name else {}
    tenants.by_name = {name: tenant for name, tenant in tenants.by_name.items() if living[name]}
    state = state_directory()
    configuration = settings.Settings(settings.path(where))
    configuration.start()
    registry = Registry(tenants, QuotaStore(state), ContextSizes(state), Machines(), configuration)
    asyncio.run(registry.capacities.prepare(request))
    return registry.admit(request)
