"""What the controller tells of shares is what the programs had, on the virtual clock."""

from __future__ import annotations

from collections.abc import Callable

from share_core import MS, US
from sharing import SETTLE_S, Device

from gshare.controller import minute
from gshare.controller.history import WINDOWS_NS
from gshare.controller.region import TenantFiles
from gshare.controller.watch import counter

SECONDS = 11
POINTS_PPM = 15_000


def test_windows_tell_the_truth(make_virtual_device: Callable[..., Device]) -> None:
    """A tenant with a cap beside one without work enough for its share: of the time that switches leave."""
    device = make_virtual_device(30, 60)
    capped = device.start(0, "kernel", 200 * US)
    light = device.start(1, "kernel", 200 * US, 1, 1800)
    device.wait(SETTLE_S)
    tenants = [TenantFiles(folder) for folder in device.folders]
    counters = [counter(files, 0, device.activity) for files in tenants]
    before = device.truth()
    for _ in range(SECONDS):
        minute.keep(counters, device.now_ns())
        device.wait(1)
    after = device.truth()
    elapsed_ns, switch_ns = (after[key] - before[key] for key in ("elapsed_ns", "switch_ns"))
    for index, program in enumerate((capped, light)):
        now = counters[index].reading(device.now_ns())
        windows = [counters[index].window(now, length_ns) for length_ns in WINDOWS_NS]
        gpu_ns = [
            sum(p["gpu_ns"] for p in truth["processes"] if p["pid"] == program.pid)
            for truth in (before, after)
        ]
        true_ppm = (gpu_ns[1] - gpu_ns[0]) * 1_000_000 // (elapsed_ns - switch_ns)
        print(program.pid, true_ppm, windows)
        assert [window and window.elapsed_ns for window in windows] == [
            n * 1000 * MS for n in (1, 10, SECONDS)
        ]
        for window in windows:
            assert window is not None
            assert abs(window.share_ppm - true_ppm) <= POINTS_PPM
    capped_now, light_now = (one.window(one.reading(device.now_ns()), WINDOWS_NS[0]) for one in counters)
    assert capped_now is not None
    assert light_now is not None
    assert capped_now.allowed_ppm == 300_000
    assert capped_now.throttled_ppm > 300_000
    assert capped_now.queue_wait_ns > 0
    assert light_now.throttled_ppm < 50_000
    for files in tenants:
        files.close()
