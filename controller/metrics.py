"""The picture of the machine as metrics: Prometheus' text format, its conventions for names and units."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from gshare.controller.replies import DeviceUse, Top
from gshare.controller.share_replies import TenantShare
from gshare.controller.units import FULL_PPM

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
NS_PER_S = 1_000_000_000
STATES = ("idle", "busy", "throttled", "yielding", "paused")

DEVICE = ("gpu", "uuid")
TENANT = ("tenant", "gpu", "uuid")


def exposition(top: Top) -> bytes:
    """What a scraper reads."""
    registry = CollectorRegistry()
    registry.register(_Picture(top))
    return generate_latest(registry)


class _Picture(Collector):
    def __init__(self, top: Top) -> None:
        self.top = top

    def collect(self) -> Iterator[Metric]:
        return families(self.top)


def _ratio(ppm: int | None) -> float | None:
    return None if ppm is None else ppm / FULL_PPM


def _last_ratio(tenant: TenantShare) -> float | None:
    return _ratio(tenant.windows[0].share_ppm) if tenant.windows else None


Measure = tuple[str, str, Callable[[Any], float | None]]
"""Name, help, and what it is of a device or of a tenant on a device; None: no sample."""

OF_DEVICES: tuple[Measure, ...] = (
    ("memory_bytes", "Memory that the GPU has.", lambda d: d.memory_bytes),
    ("memory_used_bytes", "Memory that tenants use.", lambda d: d.used_bytes),
    ("memory_promised_bytes", "Memory that is promised to tenants.", lambda d: d.promised_memory_bytes),
    ("compute_used_ratio", "GPU time of the last second that tenants used.", lambda d: _ratio(d.got_ppm)),
    ("compute_promised_ratio", "GPU time guaranteed.", lambda d: _ratio(d.promised_compute_ppm)),
    ("tenants", "Tenants that may use the GPU.", lambda d: len(d.tenants)),
    ("waiting_tenants", "Tenants that wait for it, or are paused.", lambda d: d.waiting),
)
OF_TENANTS: tuple[Measure, ...] = (
    ("memory_used_bytes", "Memory in use.", lambda t: t.used_bytes),
    ("memory_limit_bytes", "The memory quota.", lambda t: t.memory_limit_bytes),
    ("memory_uncharged_bytes", "In use, and no process was charged for it.", lambda t: t.uncharged_bytes),
    ("compute_used_ratio", "GPU time of the last second.", _last_ratio),
    ("compute_guaranteed_ratio", "GPU time guaranteed.", lambda t: _ratio(t.promised_ppm)),
    ("compute_granted_ratio", "GPU time that it may have now.", lambda t: _ratio(t.granted_ppm)),
    ("processes", "Processes that run.", lambda t: t.processes),
)
COUNTED: tuple[Measure, ...] = (
    ("gpu_seconds", "GPU time used.", lambda t: t.totals.gpu_ns / NS_PER_S),
    ("throttled_seconds", "Its threads waited before launches.", lambda t: t.totals.throttled_ns / NS_PER_S),
    ("copy_waited_seconds", "Copies waited for --pcie.", lambda t: t.totals.copy_waited_ns / NS_PER_S),
)


def families(top: Top) -> Iterator[Metric]:
    """All metrics; what is not known of a tenant or device has no sample."""
    yield InfoMetricFamily("gshare_controller", "The controller.", {"version": version("gshare")})
    yield GaugeMetricFamily("gshare_queue_length", "Runs that wait to be let in.", len(top.queue))
    yield from _devices(top)
    yield from _tenants(top.tenants)
    refused = _counter("tenant_refusals", "Calls that were refused, by cause.", (*TENANT, "cause"))
    for row in top.refusals:
        refused.add_metric((row.tenant, _gpu(row.index), row.uuid, row.cause), row.count)
    yield refused


def _devices(top: Top) -> Iterator[Metric]:
    info = InfoMetricFamily("gshare_device", "A GPU.", labels=DEVICE)
    processes = _gauge("device_unmanaged_processes", "Processes that use it without gshare.", DEVICE)
    held = _gauge("device_unmanaged_memory_bytes", "Memory that those have.", DEVICE)
    for device in top.devices:
        simulated = "true" if device.simulated else "false"
        told = {"name": device.name, "driver": device.driver, "simulated": simulated}
        info.add_metric(_place(device), told)
        there = [process for process in top.unmanaged if process.uuid == device.uuid]
        processes.add_metric(_place(device), len(there))
        held.add_metric(_place(device), sum(process.used_bytes or 0 for process in there))
    yield from (info, processes, held)
    for name, text, of in OF_DEVICES:
        family = _gauge(f"device_{name}", text, DEVICE)
        for device in top.devices:
            _add(family, _place(device), of(device))
        yield family


def _tenants(tenants: list[TenantShare]) -> Iterator[Metric]:
    gauges = [(_gauge(f"tenant_{name}", text, TENANT), of) for name, text, of in OF_TENANTS]
    counters = [(_counter(f"tenant_{name}", text, TENANT), of) for name, text, of in COUNTED]
    copied = _counter("tenant_copied_bytes", "Copied under --pcie.", (*TENANT, "direction"))
    state = _gauge("tenant_state", "1 for the state that it is in.", (*TENANT, "state"))
    for tenant in tenants:
        for gauge, of in gauges:
            _add(gauge, _owner(tenant), of(tenant))
        for counter, of in counters:
            _add(counter, _owner(tenant), of(tenant))
        copied.add_metric((*_owner(tenant), "h2d"), tenant.totals.h2d_bytes)
        copied.add_metric((*_owner(tenant), "d2h"), tenant.totals.d2h_bytes)
        for name in STATES:
            state.add_metric((*_owner(tenant), name), tenant.state == name)
    yield from (gauge for gauge, _ in gauges)
    yield from (counter for counter, _ in counters)
    yield from (copied, state)


def _gauge(name: str, text: str, labels: tuple[str, ...]) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"gshare_{name}", text, labels=labels)


def _counter(name: str, text: str, labels: tuple[str, ...]) -> CounterMetricFamily:
    """Its name ends in _total as it is told."""
    return CounterMetricFamily(f"gshare_{name}", text, labels=labels)


def _add(
    family: GaugeMetricFamily | CounterMetricFamily, labels: tuple[str, ...], value: float | None
) -> None:
    if value is not None:
        family.add_metric(labels, value)


def _place(device: DeviceUse) -> tuple[str, str]:
    return _gpu(device.index), device.uuid


def _owner(tenant: TenantShare) -> tuple[str, str, str]:
    return tenant.tenant, _gpu(tenant.index), tenant.uuid


def _gpu(index: int | None) -> str:
    return "" if index is None else str(index)
