"""What of an answer is for whom: rows of others' tenants are left out, and their names are not told."""

from collections.abc import Callable
from typing import Any

import msgspec

from gshare.controller.errors import NotPermitted
from gshare.controller.replies import (
    Admitted,
    Devices,
    Events,
    Fault,
    LimitsSet,
    MemoryUse,
    Paused,
    Processes,
    Queue,
    Queued,
    Quotas,
    Reply,
    Shares,
    Status,
    Stopping,
    Top,
    WebAddress,
)
from gshare.controller.share_replies import TenantShare

SOMEBODY = "(another user's)"
"""In the place of a tenant's name where one has to be told that there is somebody."""

CONCERN_WHO_ASKED = (Fault, Admitted, Queued, Queue, Events, LimitsSet, Paused, Stopping, WebAddress)

Sees = Callable[[str], bool]
"""Whether a tenant of this name is theirs to see."""


def only_visible(reply: Reply, sees: Sees) -> Reply:
    """The answer without what is not theirs to see; amounts that are promised of a device are for all.

    Events are chosen where they are read.  A kind of answer that is not here is for administrators.
    """
    if isinstance(reply, Processes | MemoryUse):
        return msgspec.structs.replace(reply, processes=_rows(reply.processes, sees))
    if isinstance(reply, Shares):
        return msgspec.structs.replace(
            reply, tenants=_shares(reply.tenants, sees), devices=_devices(reply.devices, sees)
        )
    if isinstance(reply, Top):
        return msgspec.structs.replace(
            reply,
            tenants=_shares(reply.tenants, sees),
            devices=_devices(reply.devices, sees),
            unmanaged=[],
            refusals=_rows(reply.refusals, sees),
        )
    if isinstance(reply, Devices | Status):
        return msgspec.structs.replace(reply, devices=_devices(reply.devices, sees))
    if isinstance(reply, Quotas):
        return Quotas(_rows(reply.quotas, sees))
    if isinstance(reply, CONCERN_WHO_ASKED):
        return reply
    raise NotPermitted(type(reply).__name__, "is for administrators")


def _rows(rows: list[Any], sees: Sees) -> list[Any]:
    return [row for row in rows if sees(row.tenant)]


def _shares(rows: list[TenantShare], sees: Sees) -> list[TenantShare]:
    return [
        msgspec.structs.replace(row, busy_above=_names(row.busy_above, sees)) for row in _rows(rows, sees)
    ]


def _devices(devices: list[Any], sees: Sees) -> list[Any]:
    return [
        msgspec.structs.replace(device, tenants=[name for name in device.tenants if sees(name)])
        for device in devices
    ]


def _names(names: list[str], sees: Sees) -> list[str]:
    return [name if sees(name) else SOMEBODY for name in names]
