"""A driver that hangs is waited for once, and nobody runs as if there were no GPU."""

import threading
from collections.abc import Iterator

import pytest
from waiting import until

from gshare.controller import devices
from gshare.controller.devices import Found, Machines, Nvml
from gshare.controller.errors import GshareError

from .conftest import House, device


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """NVML does not answer until this is set."""
    go_on, asked = threading.Event(), []

    def real_devices() -> list[Found]:
        asked.append(1)
        go_on.wait(60)
        return [device(0)] if len(asked) == 1 else []

    monkeypatch.setattr(devices, "PATIENCE_S", 0.05)
    monkeypatch.setattr(devices, "real_devices", real_devices)
    nvml = Nvml()
    monkeypatch.setattr(devices, "nvml", nvml)
    for name in ("answers", "admission"):
        monkeypatch.setattr(f"gshare.controller.{name}.nvml", nvml)
    yield go_on
    go_on.set()


def test_a_driver_that_hangs_is_asked_once_and_heard_when_it_answers(hanging: threading.Event) -> None:
    machines = Machines()
    assert [machines("") for _ in range(1000)] == [[]] * 1000, "a second wait would take a minute here"
    hanging.set()
    until(lambda: machines("") == [device(0)])


def test_nobody_runs_while_it_is_not_known_which_gpus_there_are(
    house: House, hanging: threading.Event
) -> None:
    house.machines[""] = Machines()("")
    with pytest.raises(GshareError, match="NVML: does not answer"):
        house.registry.admit(house.request())
    hanging.set()
    until(lambda: not devices.nvml.silent)
    house.machines[""] = []
    assert house.registry.admit(house.request()).tenant == ""
