"""`python -m gshare.controller`: the controller in the foreground; clients start it detached, on demand."""

import argparse
import asyncio
import gc
import logging
import os
import resource
import sys
from collections.abc import Callable
from functools import partial

from gshare.controller import configured, settings
from gshare.controller.adopt import adopt
from gshare.controller.context_size import ContextSizes
from gshare.controller.devices import Machines
from gshare.controller.errors import GshareError
from gshare.controller.events import EventLog
from gshare.controller.handover import Keeping
from gshare.controller.lock import ControllerLock
from gshare.controller.log import to_stderr
from gshare.controller.occupants import occupants
from gshare.controller.paths import machine_runtime, runtime, state_directory
from gshare.controller.reconcile import Reconciler
from gshare.controller.refusals import Refusals
from gshare.controller.registry import Registry
from gshare.controller.server import Server
from gshare.controller.store import QuotaStore
from gshare.controller.tenants import Tenants
from gshare.controller.units import parse_seconds

IDLE_EXIT_VARIABLE = "GSHARE_IDLE_EXIT_S"


def main() -> int:
    """Serve until stopped; exit code 0, or 1 with one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m gshare.controller")
    parser.add_argument("--idle-exit", metavar="SEC", help="0: never")
    parser.add_argument("--machine-wide", action="store_true", help="for all users of this machine")
    parser.add_argument("--ready-fd", type=int, default=-1, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    to_stderr()

    def tell(outcome: str) -> None:
        """Tell the client that waits for us, once, how starting went."""
        if arguments.ready_fd >= 0:
            os.write(arguments.ready_fd, outcome.encode())
            os.close(arguments.ready_fd)
            arguments.ready_fd = -1

    try:
        said = None if arguments.machine_wide else said_idle_exit_s(arguments.idle_exit)
        asyncio.run(serve(said, lambda: tell("ready"), machine_wide=arguments.machine_wide))
    except GshareError as error:
        tell(str(error))
        print(f"gshare: {error}", file=sys.stderr)
        return 1
    return 0


def said_idle_exit_s(option: str | None) -> float | None:
    """What was said when this controller was started, by the option or in the environment."""
    name, text = "--idle-exit", option
    if text is None:
        name, text = IDLE_EXIT_VARIABLE, os.environ.get(IDLE_EXIT_VARIABLE) or None
    return None if text is None else parse_seconds(text, name)


async def serve(said_idle_exit_s: float | None, ready: Callable[[], None], *, machine_wide: bool) -> None:
    """Take the lock, adopt what runs, and serve."""
    os.umask(0o077)
    where = machine_runtime() if machine_wide else runtime()
    where.create(machine_wide=machine_wide)
    _allow_many_files()
    with ControllerLock(where.lock) as lock:
        if not lock.taken:
            ready()  # another one is, or is about to be, what the client waits for
            return
        state = state_directory(machine_wide=machine_wide)
        keeping = Keeping(where.keeper) if machine_wide else None
        tenants, machines, events = Tenants(where, keeping), Machines(), EventLog(where.event_log)
        refusals = Refusals(events, machines)

        def changed(what: str, tenant: str) -> None:
            logging.info("%s %s", what, tenant)
            if tenant in tenants.by_name:
                refusals.collect(tenants.by_name[tenant])  # which were before
            events.add({"what": what, "tenant": tenant})

        tenants.on_change = changed
        tenants.on_ending = lambda tenant: refusals.collect(tenant, ended=True)
        adopted = adopt(tenants)
        logging.info("controller %d on %s, adopted %s", os.getpid(), where.directory, adopted or "nothing")
        configuration = settings.Settings(settings.path(where), state)
        registry = Registry(tenants, QuotaStore(state), ContextSizes(state), machines, configuration)
        tenants.ownership = registry.ownership
        reconciler = Reconciler(tenants, occupants, events.add)
        gc.collect()
        gc.freeze()  # what is there from the start stays: to go through that again would take 20 ms each time
        idle_exit_s = partial(configured.idle_exit_s, said_idle_exit_s, machine_wide=machine_wide)
        await Server(where, registry, events, refusals, reconciler, idle_exit_s).serve(ready)


def _allow_many_files() -> None:
    """As many as there may be: each tenant needs some, here and in the keeper."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    sys.exit(main())
