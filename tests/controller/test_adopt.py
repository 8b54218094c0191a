"""A new controller finds what an earlier one left: alive, dead, half made, damaged, or of another version."""

import logging
import os
from pathlib import Path

import pytest

from gshare.controller.adopt import adopt
from gshare.controller.errors import GshareError
from gshare.controller.protocol import Change, Limits, SetLimits
from gshare.controller.units import Memory
from gshare.shim import abi

from .conftest import GIB, House

FOUR = Limits(Memory(4 * GIB, None), 300_000)


def test_running_tenants_go_on_with_their_limits(house: House) -> None:
    admitted = house.registry.admit(house.request(FOUR, tenant="team-a", gpus=["0"]))
    house.registry.set_limits(SetLimits("team-a", Change(Memory(6 * GIB, None))))
    house.restart()
    assert adopt(house.registry.tenants) == ["team-a"]
    tenant = house.registry.tenants.by_name["team-a"]
    assert tenant.files.grant(0) == (6 * GIB, 300_000)
    assert (tenant.gpus, tenant.limits) == (["0"], Limits(Memory(6 * GIB, None), 300_000))
    assert house.registry.admit(house.request(tenant="team-a")).directory == admitted.directory


def test_what_runs_still_counts_against_the_device(house: House) -> None:
    house.registry.admit(house.request(Limits(Memory(79 * GIB, None))))
    house.restart()
    adopt(house.registry.tenants)
    with pytest.raises(GshareError, match="left to promise"):
        house.registry.admit(house.request(FOUR))


def test_a_tenant_of_which_only_a_child_lives_is_adopted(house: House) -> None:
    request = house.request(FOUR)
    admitted = house.registry.admit(request)
    child = house.program(admitted.directory)
    house.end(request.pid)
    house.restart()
    assert adopt(house.registry.tenants) == [admitted.tenant]
    house.end(child.pid)
    assert house.registry.tenants.sweep() == [admitted.tenant]


def test_dead_tenants_and_half_made_ones_are_cleared_away(house: House) -> None:
    request = house.request(FOUR)
    house.registry.admit(request)
    house.end(request.pid)
    (house.runtime.tenants / ".x.new").mkdir()
    (house.runtime.tenants / ".x.new" / "limits").write_bytes(b"half")
    house.restart()
    assert adopt(house.registry.tenants) == []
    assert list(house.runtime.tenants.iterdir()) == []


def test_what_is_no_tenants_directory_is_left_alone(house: House) -> None:
    """A pipe is waited for by whoever opens it, and behind a link are others' files."""
    for number, kind in enumerate((os.mkfifo, Path.touch, lambda path: path.symlink_to("/etc"))):
        kind(house.runtime.tenants / f"x{number}")
    house.restart()
    assert adopt(house.registry.tenants) == []
    assert len(list(house.runtime.tenants.iterdir())) == 3


def damage(path: Path, kind: str) -> None:
    content = bytearray(path.read_bytes())
    if kind == "empty":
        content.clear()
    elif kind == "short":
        del content[len(content) // 2 :]
    elif kind == "foreign":
        content[:8] = b"nonsense"
    elif kind == "version":
        content[8] += 1
    path.unlink()
    if kind != "missing":
        path.write_bytes(content)


@pytest.mark.parametrize("kind", ["empty", "short", "foreign", "version", "missing"])
@pytest.mark.parametrize("file", ["limits", "usage"])
def test_unusable_files_are_named_kept_while_used_and_then_removed(
    house: House, kind: str, file: str, caplog: pytest.LogCaptureFixture
) -> None:
    request = house.request(FOUR, tenant="team-a")
    admitted = house.registry.admit(request)
    child = house.program(admitted.directory)
    house.registry.tenants.close()
    damage(Path(admitted.directory) / file, kind)
    house.restart()
    with caplog.at_level(logging.WARNING):
        assert adopt(house.registry.tenants) == []
    assert f"team-a/{file}" in caplog.text
    with pytest.raises(GshareError, match=f"tenant team-a: .*/{file}: .* "):
        house.registry.admit(house.request(FOUR, tenant="team-a"))
    assert Path(admitted.directory).exists()
    house.end(request.pid)
    house.end(child.pid)
    house.registry.tenants.sweep()
    assert not Path(admitted.directory).exists()
    house.registry.admit(house.request(FOUR, tenant="team-a"))


def test_a_damaged_note_costs_no_limit(house: House) -> None:
    request = house.request(FOUR)
    admitted = house.registry.admit(request)
    house.program(admitted.directory)
    (Path(admitted.directory) / "tenant.json").write_text('{"machine": 5}')
    house.restart()
    assert adopt(house.registry.tenants) == [admitted.tenant]
    assert house.registry.tenants.by_name[admitted.tenant].files.grant(0) == (4 * GIB, 300_000)


def test_an_unusable_activity_file_is_made_anew_unless_somebody_runs_on_it(house: House) -> None:
    admitted = house.registry.admit(house.request(FOUR))
    child = house.program(admitted.directory)
    house.registry.tenants.close()
    with open(house.runtime.activity, "r+b") as file:
        file.write(b"nonsense")
    house.restart()
    with pytest.raises(GshareError, match=r"activity: not a activity|activity: not an activity"):
        house.registry.tenants.open_activity()
    house.end(child.pid)
    house.registry.tenants.open_activity()
    abi.Activity(house.runtime.activity).close()
    assert os.listdir(house.runtime.tenants) == []
