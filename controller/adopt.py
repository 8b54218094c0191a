"""A new controller takes over what an earlier one left: running tenants go on, dead ones are cleared away."""

import logging
import shutil

from gshare.controller.errors import GshareError
from gshare.controller.processes import members
from gshare.controller.tenants import Tenants, folders

log = logging.getLogger(__name__)


def adopt(tenants: Tenants) -> list[str]:
    """Adopt every tenant that still has a process, remove the rest, and return the names adopted.

    A tenant's limits are what its files say: they held while there was no controller.  Files that cannot be
    used (damaged, or of another version) are left to the processes that run in them, and removed after those.
    """
    directory = tenants.runtime.tenants
    for entry in directory.glob(".*.new"):
        shutil.rmtree(entry, ignore_errors=True)
    running = members(directory)
    for name in folders(directory):
        try:
            tenants.adopt(name)
        except GshareError as error:
            log.warning("not adopted: %s", error)
            if running.get(name):
                tenants.unusable[name] = error
            else:
                tenants.forget(name)
    for name in tenants.keeping.names() if tenants.keeping else []:
        if name not in tenants.by_name and name not in tenants.unusable:
            tenants.forget(name)
    tenants.sweep()
    tenants.apportion()
    return list(tenants.by_name)
