"""Tables and lines for people; `--json` prints the protocol's own encoding instead."""

import pwd
import sys
from collections.abc import Sequence

import click
import msgspec

from gshare.controller.replies import Admitted, Device, LimitsSet, Process, Quota, QuotaOn
from gshare.controller.units import (
    Memory,
    format_compute,
    format_memory_each,
    format_percent,
    format_rates,
    format_size,
    printable,
)

NOTHING = "-"


def print_json(value: object) -> None:
    """One JSON object on stdout."""
    click.echo(msgspec.json.encode(value).decode())


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Aligned columns; the last one is cut to the width of a terminal, and whole elsewhere."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header) - 1)]
    width = _terminal_width()
    for number, row in enumerate((header, *rows)):
        cells = [cell.ljust(size) for cell, size in zip(row, widths, strict=False)]
        line = printable("  ".join([*cells, row[-1]]).rstrip())[:width]
        click.echo(click.style(line, bold=number == 0))


def print_processes(processes: Sequence[Process]) -> None:
    """`gshare ps`."""
    header = ("TENANT", "PID", "USER", "GPU", "MEM", "LIMIT", "COMPUTE", "STATE", "COMMAND")
    print_table(header, [_process_row(process) for process in processes])


def print_devices(devices: Sequence[Device]) -> None:
    """`gshare devices`."""
    header = ("GPU", "NAME", "MEMORY", "USED", "PROMISED", "COMPUTE", "TENANTS", "UUID")
    rows = [
        (
            gpu(device.index, device.simulated),
            device.name,
            format_size(device.memory_bytes),
            format_size(device.used_bytes),
            format_size(device.promised_memory_bytes),
            format_percent(device.promised_compute_ppm),
            str(len(device.tenants)),
            device.uuid,
        )
        for device in devices
    ]
    print_table(header, rows)


def print_quotas(quotas: Sequence[Quota]) -> None:
    """`gshare quota show`."""
    rows = [
        (
            quota.tenant,
            quota_memory(quota),
            compute(quota.guarantee_ppm, quota.ceiling_ppm, quota.weight),
            quota.priority or NOTHING,
            NOTHING if quota.host_memory_bytes is None else format_size(quota.host_memory_bytes),
            format_rates(quota.copy_bytes_per_s) or NOTHING,
            "yes" if quota.running else "no",
            "yes" if quota.reserved else "no",
            quota_people(quota),
        )
        for quota in quotas
    ]
    header = ("TENANT", "MEM", "COMPUTE", "PRIORITY", "HOST-MEM", "PCIE", "RUNNING", "RESERVED", "WHO")
    print_table(header, rows)


def print_change(change: LimitsSet) -> None:
    """`gshare set`: what was read back, old and new."""
    count = f"{change.processes} process{'' if change.processes == 1 else 'es'}"
    everywhere = []
    old_host, new_host = change.old_host_memory_bytes, change.new_host_memory_bytes
    if old_host != new_host:
        everywhere.append(f"host-mem {size(old_host)} -> {size(new_host)}")
    if change.old_weight != change.new_weight:
        everywhere.append(f"weight {change.old_weight or NOTHING} -> {change.new_weight or NOTHING}")
    if change.old_priority != change.new_priority:
        everywhere.append(f"priority {change.old_priority} -> {change.new_priority}")
    if change.old_mode != change.new_mode:
        everywhere.append(f"mode {change.old_mode} -> {change.new_mode}")
    old_rates, new_rates = change.old_copy_bytes_per_s, change.new_copy_bytes_per_s
    if old_rates != new_rates:
        everywhere.append(
            f"pcie {format_rates(old_rates) or 'no limit'} -> {format_rates(new_rates) or 'no limit'}"
        )
    if everywhere:
        click.echo(f"{change.tenant}: {', '.join(everywhere)} ({count})")
    for device in change.devices:
        parts = []
        if device.old_memory_bytes != device.new_memory_bytes:
            parts.append(f"mem {size(device.old_memory_bytes)} -> {size(device.new_memory_bytes)}")
        old = compute(device.old_compute_ppm, device.old_ceiling_ppm)
        new = compute(device.new_compute_ppm, device.new_ceiling_ppm)
        if old != new:
            parts.append(f"compute {old} -> {new}")
        if parts or not everywhere:
            click.echo(f"{change.tenant}: {', '.join(parts) or 'unchanged'} on GPU {device.index} ({count})")


def print_admission(decision: Admitted, environment: dict[str, str], *, as_json: bool) -> None:
    """`gshare run --dry-run`: the decision and the environment, which a shell can read."""
    if as_json:
        from gshare.cli.outputs import DryRun

        print_json(DryRun(**msgspec.structs.asdict(decision), environment=environment))
        return
    if not decision.tenant:
        click.echo("# not managed: nothing is asked for, and there is no GPU here")
    else:
        click.echo(f"# {'joins' if decision.joined else 'would be'} tenant {decision.tenant}")
    for device in decision.devices:
        share = compute(device.compute_ppm, device.ceiling_ppm, decision.weight)
        limits = f"mem {size(device.memory_bytes)}, compute {share}"
        context = f"a context takes up to {format_size(device.context_bytes)}"
        click.echo(f"# GPU {device.index} {device.uuid}: {limits}; {context}")
    for what, word in (("priority", decision.priority), ("mode", decision.mode)):
        if word is not None:
            click.echo(f"# {what} {word}")
    if decision.copy_bytes_per_s:
        click.echo(f"# pcie {format_rates(decision.copy_bytes_per_s)}")
    if decision.host_memory_bytes is not None:
        click.echo(f"# host: pinned memory {format_size(decision.host_memory_bytes)}")
    for name, value in sorted(environment.items()):
        click.echo(f"export {name}='{value}'")


def size(size_bytes: int | None) -> str:
    """A memory limit, or that there is none."""
    return "no limit" if size_bytes is None else format_size(size_bytes)


def compute(guarantee_ppm: int | None, ceiling_ppm: int | None, weight: int | None = None) -> str:
    """A share of GPU time and a weight, or that there is no limit."""
    parts = [] if guarantee_ppm is None else [format_compute(guarantee_ppm, ceiling_ppm)]
    parts += [] if weight is None else [f"weight {weight}"]
    return " ".join(parts) or "no limit"


def quota_people(quota: Quota) -> str:
    """Whose a quota is, and who else may run in it; `configured` where it is written by hand."""
    owner = [] if quota.owner_uid is None else [user_name(quota.owner_uid)]
    return ",".join([*owner, *quota.members, *(["(configured)"] if quota.by_hand else [])]) or NOTHING


def quantity(size_bytes: int | None, ppm: int | None) -> str:
    """Memory as it was asked for: an amount, a part of what there is, or nothing."""
    if ppm is not None:
        return format_percent(ppm)
    return NOTHING if size_bytes is None else format_size(size_bytes)


def user_name(uid: int) -> str:
    """What a user is called."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def quota_memory(quota: Quota) -> str:
    """A quota's memory as it was written."""
    on = {device.gpu: _memory(device) for device in quota.devices}
    return format_memory_each(_memory(quota), on) or size(None)


def _memory(amount: Quota | QuotaOn) -> Memory | None:
    memory = Memory(amount.memory_bytes, amount.memory_ppm)
    return None if memory == (None, None) else memory


def _process_row(process: Process) -> tuple[str, ...]:
    got = NOTHING if process.compute_ppm is None else f"{process.compute_ppm / 10_000:.0f}%"
    asked = compute(process.guarantee_ppm, process.ceiling_ppm, process.weight).replace(" ", ":")
    limit = f"/{asked}" if process.guarantee_ppm or process.weight else ""
    return (
        process.tenant,
        str(process.pid),
        process.user or NOTHING,
        NOTHING if process.index is None else gpu(process.index, process.simulated),
        format_size(process.used_bytes),
        NOTHING if process.memory_limit_bytes is None else format_size(process.memory_limit_bytes),
        f"{got}{limit}",
        process.state,
        process.command,
    )


def gpu(index: int, simulated: bool) -> str:
    """A device's number."""
    return f"sim:{index}" if simulated else str(index)


def _terminal_width() -> int | None:
    if not sys.stdout.isatty():
        return None
    from shutil import get_terminal_size

    return get_terminal_size().columns
