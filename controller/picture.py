"""The machine in one picture: what `top`, the web page and the metrics show is all told here, once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from gshare.controller.processes import command, user
from gshare.controller.reconcile import Stranger
from gshare.controller.refusals import Refusals
from gshare.controller.replies import Device, DeviceUse, RefusalCount, Shares, Top, Unmanaged, Waiting
from gshare.controller.share_replies import TenantShare

SECONDS = 60
WAITS = ("throttled", "yielding", "paused")
"""States of a tenant that does not launch what it would."""


def picture(
    shares: Shares, strangers: Mapping[Stranger, int | None], refusals: Refusals, queue: list[Waiting]
) -> Top:
    """Shares, what they come to on each device, who is there unmanaged, what was refused, and who waits."""
    known = {device.uuid: device for device in shares.devices}
    return Top(
        now_ns=shares.now_ns,
        devices=[device_use(device, shares.tenants) for device in shares.devices],
        tenants=shares.tenants,
        unmanaged=[
            Unmanaged(
                pid=pid,
                user=user(pid),
                index=known[uuid].index if uuid in known else None,
                uuid=uuid,
                simulated=uuid in known and known[uuid].simulated,
                used_bytes=used_bytes,
                command=command(pid),
            )
            for (pid, _, uuid), used_bytes in sorted(strangers.items())
        ],
        refusals=[
            RefusalCount(name, known[uuid].index if uuid in known else None, uuid, cause, count)
            for name in dict.fromkeys(share.tenant for share in shares.tenants)
            for (uuid, cause), count in sorted(refusals.counts(name).items())
        ],
        queue=queue,
    )


def device_use(device: Device, tenants: Iterable[TenantShare]) -> DeviceUse:
    """How busy the tenants on a device keep it, all together."""
    on = [share for share in tenants if share.uuid == device.uuid]
    measured = [share for share in on if share.metered]
    minutes = [([0] * SECONDS + share.seconds_ppm)[-SECONDS:] for share in measured]
    return DeviceUse(
        **msgspec.structs.asdict(device),
        got_ppm=sum(share.windows[0].share_ppm for share in measured if share.windows) if measured else None,
        seconds_ppm=[sum(second) for second in zip(*minutes, strict=True)],
        waiting=sum(share.state in WAITS for share in on),
    )
