"""A tenant's files, written through the ABI: the only place in the controller that touches shared memory."""

import os
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import msgspec

from gshare.controller.errors import GshareError
from gshare.controller.files import cannot_write, write_json
from gshare.controller.paths import Runtime
from gshare.controller.policy import NO_ACCESS, Capacity, Grant
from gshare.controller.processes import Run, members
from gshare.controller.protocol import Limits
from gshare.controller.shares import BURST_NS, IN_FLIGHT_NS, RESUME_NS, UNBOUNDED_PPM, Share
from gshare.controller.units import DIRECTIONS
from gshare.shim import abi

NOTE = "tenant.json"

UNCAPPED = (abi.NO_CAP_PPM, abi.METERED_PPM)

Turns = list[tuple[int, int]]
"""From when on in each period a device is whose: see abi.Limits.set_turns."""

NO_DEVICE = bytes(16)
"""UUID of an entry of the device table that stands for nothing."""


def uuid_bytes(uuid: str) -> bytes:
    """`GPU-1b2c...` as the ABI has it."""
    return bytes.fromhex(uuid.removeprefix("GPU-").removeprefix("MIG-").replace("-", ""))


@lru_cache(maxsize=1024)
def uuid_text(uuid: bytes) -> str:
    """The ABI's 16 bytes as NVML prints them."""
    digits = uuid.hex()
    return f"GPU-{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def now_ns() -> int:
    """The clock of all limits."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


class Note(msgspec.Struct, frozen=True):
    """What a controller that adopts a tenant cannot see in its shared memory."""

    machine: str = ""
    gpus: list[str] = []
    limits: Limits = Limits()
    runs: list[Run] = []
    owner_uid: int | None = None
    """None: the user's whose controller this is."""
    audit_paused: bool = False
    """It is the audit that has paused it, and lets it go on."""


class TenantFiles:
    """The open files of one tenant."""

    def __init__(self, directory: Path, parts: Mapping[str, Path] | None = None) -> None:
        """Open them, where the keeper has them or in the directory.

        Raises GshareError for files that are damaged or of another gshare.
        """
        parts = parts or {part: directory / part for part in ("limits", "usage")}
        self.directory = directory
        self._rows: dict[str, int] = {}
        self._turns: dict[int, tuple[int, Turns]] = {}
        try:
            self.limits = abi.Limits(parts["limits"], writable=True)
            try:
                self.usage = abi.Usage(parts["usage"])
            except abi.AbiError:
                self.limits.close()
                raise
        except abi.AbiError as error:
            raise GshareError(f"tenant {directory.name}", str(error)) from None

    @property
    def index(self) -> int:
        """The tenant's record in the activity file."""
        return self.limits.tenant_index

    def grant(self, row: int) -> Grant:
        """What the tenant may have on the device in `row` of the table, read back from shared memory."""
        device = self.limits.device(row)
        return Grant(
            None if device.memory_quota_bytes == abi.NO_LIMIT_BYTES else device.memory_quota_bytes,
            None if device.cap_ppm in UNCAPPED else device.guarantee_ppm,
        )

    def ceiling_ppm(self, row: int) -> int | None:
        """The most that the tenant may use of a device's time, read back from shared memory."""
        cap_ppm = self.limits.device(row).cap_ppm
        return None if cap_ppm in UNCAPPED else cap_ppm

    def grants(self) -> dict[str, Grant]:
        """What the tenant may have, by UUID, on every device it has access to."""
        return {
            uuid_text(device.uuid): self.grant(row)
            for row, device in enumerate(self.limits.devices)
            if device.uuid != NO_DEVICE and device.memory_quota_bytes != 0
        }

    def rows(self) -> dict[str, int]:
        """The row of each device, by UUID; they are as the files were made."""
        if not self._rows:
            self._rows = {
                uuid_text(device.uuid): row
                for row, device in enumerate(self.limits.devices)
                if device.uuid != NO_DEVICE
            }
        return self._rows

    def residue_bytes(self, row: int) -> int:
        """What has been taken off the tenant's quota on one device: it has that, and nobody was charged."""
        device = self.limits.device(row)
        assert device.memory_quota_bytes is not None  # as the file has it
        return device.memory_quota_bytes - device.memory_limit_bytes

    def used_bytes(self, row: int) -> int:
        """What the tenant has of one device: what it was charged, and that."""
        return self.usage.device(row).used_bytes + self.residue_bytes(row)

    def take_off(self, row: int, residue_bytes: int) -> None:
        """Take so much off the tenant's quota on one device, in the place of what was taken off before."""
        if residue_bytes != self.residue_bytes(row):
            self._set_memory(row, self._quota_bytes(row), residue_bytes)

    def _quota_bytes(self, row: int) -> int:
        quota_bytes = self.limits.device(row).memory_quota_bytes
        assert quota_bytes is not None  # as the file has it
        return quota_bytes

    def _set_memory(self, row: int, quota_bytes: int, residue_bytes: int) -> None:
        """A limit of 0 would say that the device is not granted at all."""
        limit_bytes = quota_bytes
        if quota_bytes not in (0, abi.NO_LIMIT_BYTES):
            limit_bytes = max(quota_bytes - residue_bytes, 1)
        self.limits.set_memory_limit(row, limit_bytes, quota_bytes)

    def compute(self) -> tuple[int | None, int | None]:
        """The guarantee and the ceiling, which are the same on every device that is granted."""
        rows = [self.rows()[uuid] for uuid in self.grants()][:1]
        return next(((self.grant(row).compute_ppm, self.ceiling_ppm(row)) for row in rows), (None, None))

    def change_memory(self, row: int, grant: Grant) -> None:
        """Give the tenant another amount on one device; its running programs see it at once."""
        self._set_memory(row, _limit_bytes(grant), self.residue_bytes(row))

    def change_share(self, row: int, share: Share) -> None:
        """Give the tenant another share of one device's time; what it has saved or owes stays.

        A line that was not in force says nothing of that, nor does one that a controller left half written.
        """
        device, torn = self.limits.device(row), self.limits.is_torn(row)
        guarantee_ppm = 0 if share.cap_ppm == abi.NO_CAP_PPM else share.guarantee_ppm
        wanted = (share.cap_ppm, guarantee_ppm, share.in_flight_ns, share.resume_ns)
        if not torn and wanted == (
            device.cap_ppm,
            device.guarantee_ppm,
            device.in_flight_ns,
            device.resume_ns,
        ):
            return
        afresh = torn or device.cap_ppm == abi.NO_CAP_PPM or device.guarantee_ppm == UNBOUNDED_PPM
        self.limits.set_cap(
            row,
            share.cap_ppm,
            now_ns(),
            spent_ns=self.usage.device(row).spent_ns if afresh else None,
            rate_ppm=guarantee_ppm,
            burst_ns=BURST_NS,
            resume_ns=share.resume_ns,
            in_flight_ns=share.in_flight_ns,
        )

    def change_copy_rates(self, bytes_per_s: Mapping[str, int | None]) -> None:
        """Give the tenant another limit on what it copies, on every device."""
        rates = _copy_rates(bytes_per_s)
        for row in self.rows().values():
            if self.limits.device(row).copy_bytes_per_s != rates:
                self.limits.set_copy_rates(row, rates)

    def copy_rates(self) -> dict[str, int]:
        """The limit on what the tenant copies, by direction, read back from shared memory."""
        rows = [self.rows()[uuid] for uuid in self.grants()][:1]
        rates = self.limits.device(rows[0]).copy_bytes_per_s if rows else (0, 0)
        return {way: rate for way, rate in zip(DIRECTIONS, rates, strict=True) if rate}

    def change_order(self, above: set[int], *, below: bool) -> None:
        """Tell the tenant which others go first, and whether some come after it."""
        if set(self.limits.above) != above:
            self.limits.set_above(above)
        if self.limits.below != below:
            self.limits.set_below(below)

    def change_turns(self, row: int, period_ns: int, table: Turns) -> None:
        """Tell the tenant whose turn it is when; at first in any case: the table may be half written."""
        if self._turns.get(row) != (period_ns, table):
            self.limits.set_turns(row, period_ns, table)
            self._turns[row] = (period_ns, table)

    def takes_turns(self, row: int) -> bool:
        """Whether tenants run one at a time on a device."""
        return self.limits.turns(row)[0] != 0

    @property
    def host_memory_bytes(self) -> int | None:
        """How much memory of the host the tenant may pin; None is no limit."""
        limit = self.limits.device(abi.HOST_ROW).memory_limit_bytes
        return None if limit == abi.NO_LIMIT_BYTES else limit

    @host_memory_bytes.setter
    def host_memory_bytes(self, limit: int | None) -> None:
        self.limits.set_memory_limit(abi.HOST_ROW, abi.NO_LIMIT_BYTES if limit is None else limit)

    def close(self) -> None:
        """Unmap; the tenant's programs keep their own mappings."""
        self.limits.close()
        self.usage.close()

    def note(self) -> Note:
        """What an earlier controller wrote down; empty where that is lost: the limits are in the files."""
        try:
            return msgspec.json.decode((self.directory / NOTE).read_bytes(), type=Note)
        except (OSError, msgspec.MsgspecError):
            return Note()

    def write_note(self, note: Note) -> None:
        """Replace the note."""
        _write_note(self.directory, note)


def create_tenant(
    runtime: Runtime,
    name: str,
    index: int,
    table: list[Capacity | None],
    grants: Mapping[str, Grant],
    note: Note,
    keep: Callable[[Path], Mapping[str, Path]] | None = None,
) -> TenantFiles:
    """Make a tenant's files, all or none: they are built in a folder that is moved into place.

    `keep` takes limits and usage from there to where they have no names, and tells where to open them.
    `table` has every device, in rows that all tenants share; those not in `grants` are not granted.
    """
    directory = runtime.tenants / name
    building = runtime.tenants / f".{name}.new"
    try:
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(mode=0o700)
        rates = _copy_rates(note.limits.copy_bytes_per_s)
        rows = [_device_limits(device, grants, rates) for device in table]
        host = note.limits.host_memory_bytes
        abi.create_limits(
            building / "limits",
            name,
            index,
            rows,
            now_ns=now_ns(),
            tenants_bound=index + 1,
            host_limit_bytes=abi.NO_LIMIT_BYTES if host is None else host,
        )
        abi.create_usage(building / "usage")
        _write_note(building, note)
        parts = keep(building) if keep else None
        if parts is None:
            os.link(runtime.activity, building / "activity")
        building.rename(directory)
    except (OSError, GshareError) as error:
        shutil.rmtree(building, ignore_errors=True)
        if isinstance(error, OSError):
            raise cannot_write(directory, error) from None
        raise
    return TenantFiles(directory, parts)


def remove_tenant(directory: Path) -> None:
    """Remove a tenant's files; nobody runs in it any more."""
    shutil.rmtree(directory, ignore_errors=True)


def open_activity(runtime: Runtime) -> abi.Activity:
    """Open the machine's activity file, made anew where it is missing or unusable and nobody runs on it.

    Raises GshareError where it cannot be used and running programs depend on it.
    """
    with suppress(abi.AbiError):
        return abi.Activity(runtime.activity, writable=True)
    try:
        if runtime.activity.exists() and members(runtime.tenants):
            return abi.Activity(runtime.activity, writable=True)
        shutil.rmtree(runtime.tenants)
        runtime.tenants.mkdir(mode=0o700)
        abi.create_activity(runtime.activity)
        return abi.Activity(runtime.activity, writable=True)
    except OSError as error:
        raise cannot_write(runtime.activity, error) from None
    except abi.AbiError as error:
        raise GshareError("controller", str(error)) from None


def _write_note(directory: Path, note: Note) -> None:
    """The runtime directory does not outlive the machine, so nothing is synced."""
    write_json(directory / NOTE, msgspec.to_builtins(note), durable=False)


def _copy_rates(bytes_per_s: Mapping[str, int | None]) -> tuple[int, int]:
    """As the ABI has them: 0 is no limit."""
    to_device, to_host = (bytes_per_s.get(way) or 0 for way in DIRECTIONS)
    return to_device, to_host


def _device_limits(
    device: Capacity | None, grants: Mapping[str, Grant], copy_rates: tuple[int, int]
) -> abi.DeviceLimits:
    if device is None:
        return abi.DeviceLimits(NO_DEVICE, 0, memory_limit_bytes=0)
    grant = grants.get(device.uuid, NO_ACCESS)
    return abi.DeviceLimits(
        uuid_bytes(device.uuid),
        device.memory_bytes,
        memory_limit_bytes=_limit_bytes(grant),
        context_bytes=device.context_bytes,
        cap_ppm=abi.NO_CAP_PPM if grant.compute_ppm is None else grant.compute_ppm,
        burst_ns=BURST_NS,
        resume_ns=RESUME_NS,
        in_flight_ns=IN_FLIGHT_NS,
        copy_bytes_per_s=copy_rates,
    )


def _limit_bytes(grant: Grant) -> int:
    return abi.NO_LIMIT_BYTES if grant.memory_bytes is None else grant.memory_bytes
