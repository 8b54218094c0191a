"""What a context takes is measured where there is a device, remembered, and never asked for twice."""

import asyncio
import json
from pathlib import Path

import pytest

from gshare.controller import context_size
from gshare.controller.context_size import FALLBACK_BYTES, GRAIN_BYTES, HEADROOM_BYTES, ContextSizes
from gshare.controller.devices import Found, passing_machine, simulated_devices

from .conftest import device


def test_a_simulated_context_is_measured_and_leaves_no_trace(tmp_path: Path) -> None:
    with passing_machine("t4*2") as machine:
        sizes = ContextSizes(tmp_path / "state")
        first = simulated_devices(machine)[0]
        assert sizes.known(first) == FALLBACK_BYTES
        asyncio.run(sizes.measure(first))
        assert 0 < sizes.known(first) < FALLBACK_BYTES
        assert not (tmp_path / "state").exists()


def measured(monkeypatch: pytest.MonkeyPatch, answers: list[int | None]) -> None:
    async def probe(found: Found) -> int | None:
        return answers.pop(0)

    monkeypatch.setattr(context_size, "_probe", probe)


def test_a_real_context_is_rounded_up_and_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured(monkeypatch, [(500 << 20) + 1])
    sizes = ContextSizes(tmp_path)
    for _ in range(2):
        asyncio.run(sizes.measure(device(0)))
    bound = (500 << 20) + GRAIN_BYTES + HEADROOM_BYTES
    assert sizes.known(device(0)) == bound
    assert ContextSizes(tmp_path).known(device(3)) == bound


def test_what_cannot_be_measured_is_not_written_down_and_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured(monkeypatch, [None])
    sizes = ContextSizes(tmp_path)
    for _ in range(2):
        asyncio.run(sizes.measure(device(0)))
    assert sizes.known(device(0)) == FALLBACK_BYTES
    assert list(tmp_path.iterdir()) == []


def test_two_who_ask_at_once_measure_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured(monkeypatch, [1])

    async def both() -> None:
        sizes = ContextSizes(tmp_path)
        await asyncio.gather(sizes.measure(device(0)), sizes.measure(device(0)))

    asyncio.run(both())


@pytest.mark.parametrize("content", ["", "[]", '{"context_bytes": 5}', '{"context_bytes": {"Test 1.0": -1}}'])
def test_a_damaged_memory_is_forgotten(tmp_path: Path, content: str) -> None:
    (tmp_path / "contexts.json").write_text(content)
    assert ContextSizes(tmp_path).known(device(0)) == FALLBACK_BYTES


def test_the_probe_of_a_driver_that_fails_says_nothing(tmp_path: Path) -> None:
    """There is no real GPU of this name: the child ends without an answer."""
    sizes = ContextSizes(tmp_path)
    asyncio.run(sizes.measure(device(0)))
    assert sizes.known(device(0)) == FALLBACK_BYTES
    assert not (tmp_path / "contexts.json").exists() or json.loads((tmp_path / "contexts.json").read_text())
