"""Configuration: what a file means, and what is said, with line and key, of one with something wrong."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gshare.controller.config import EVERYBODY, Admission, Audit, Ceiling, Config
from gshare.controller.config_file import MOST_BYTES, parse, read
from gshare.controller.permanent import Permanent
from gshare.controller.protocol import Limits
from gshare.controller.units import Memory

GIB = 1 << 30

WHOLE = """
[admission]
memory-overcommit = 1.5
placement = "best-fit"
patience = 120

[controller]
idle-exit = 0

[administrators]
users = ["root"]

[audit]
unmanaged = "stop"
over-quota = "pause"
pause-after = 10

[defaults]
mem = "25%"
compute = "20%..80%"

[users."*"]
mem = "16G"
compute = "50%"
tenants = 4
priority = "normal"

[users.root]
tenants = 100

[groups.root]
mem = "50%"

[tenants.team-a]
mem = "0=8G,1=4G"
compute = "40%"
owner = "root"
members = ["@root", "0"]
reserve = true
"""


def test_a_file_without_end_is_not_read_to_its_end() -> None:
    config, (wrong,) = read(Path("/dev/zero"))
    assert (config, wrong.why) == (None, f"is longer than {MOST_BYTES} bytes")


def test_a_whole_file() -> None:
    config, wrong = parse(WHOLE)
    assert wrong == []
    assert config is not None
    assert config.admission == Admission(1.5, 1.0, "best-fit", 120.0)
    assert config.controller.idle_exit == 0
    assert config.administrators.users == ["root"]
    assert config.audit == Audit(unmanaged="stop", over_quota="pause", pause_after=10.0)
    assert config.defaults == Limits(Memory(None, 250_000), 200_000, ceiling_ppm=800_000)
    assert config.users == {
        EVERYBODY: Ceiling(Memory(16 * GIB, None), 500_000, 4, "normal"),
        "root": Ceiling(tenants=100),
    }
    assert config.groups == {"root": Ceiling(Memory(None, 500_000))}
    on = {"0": Memory(8 * GIB, None), "1": Memory(4 * GIB, None)}
    team = Permanent(Limits(compute_ppm=400_000, memory_on=on), 0, ("@root", "0"), True)
    assert config.tenants == {"team-a": team}


def test_nothing_configures_nothing() -> None:
    config, wrong = parse("")
    assert (config, wrong) == (Config(), [])


FAULTS = (
    # the file, what is said of it
    ("[admission\n", ["Expected ']' at the end of a table declaration (at line 1, column 11)"]),
    ("[colour]\n", ["line 1: colour: no such table (there is admission"]),
    ("colour = 1\n", ["line 1: colour: no such table"]),
    ("[admision]\n", ["line 1: admision: no such table (did you mean admission)"]),
    ("admission = 3\n", ["line 1: admission: is a table, as [admission]"]),
    ("users = 3\n", ["line 1: users: is tables, as [users.NAME]"]),
    (
        "\n[admission]\nplacment = 'spread'\n",
        ["line 3: admission.placment: no such key (did you mean placement)"],
    ),
    (
        "[admission]\nplacement = 'nowhere'",
        ["line 2: admission.placement: nowhere: not one of all, best-fit and spread"],
    ),
    (
        "[admission]\nmemory-overcommit = 0\npatience = 'long'\n",
        [
            "line 2: admission.memory-overcommit: Expected `float` > 0.0",
            "line 3: admission.patience: Expected `float`, got `str`",
        ],
    ),
    ("admission.patience = 'long'\n", ["line 1: admission.patience: Expected `float`, got `str`"]),
    ("[admission]\nplacement = 7\n", ["line 2: admission.placement: Expected `str`, got `int`"]),
    (
        "[defaults]\nmem = '8GB'\n",
        ["line 2: defaults.mem: 8GB: GB means 10^9 bytes to some and 2^30 to others (write 8G"],
    ),
    (
        "[defaults]\ncompute = '30%'\nweight = 3\n",
        ["line 3: defaults.weight: a hard cap of 30% borrows nothing that a weight could divide"],
    ),
    ("[defaults]\nhost-mem = '900T'\n", ["line 2: defaults.host-mem: is more than the machine has"]),
    ("[defaults]\npriority = 'urgent'\n", ["line 2: defaults.priority: urgent: not one of high"]),
    ("[users.root]\nmem = 8\n", ["line 2: users.root.mem: Expected `str | null`, got `int`"]),
    ("[users.root]\ntenants = -1\n", ["line 2: users.root.tenants: a number of tenants is 0 or more"]),
    ("[users.root]\ncompute = '30%..60%'\n", ["line 2: users.root.compute: a ceiling is one percentage"]),
    ("[users]\nroot = 5\n", ["line 2: users.root: is a table, as [users.root]"]),
    ("[audit]\nunmanaged = 'pause'\n", ["line 2: audit.unmanaged: who is not managed cannot be paused"]),
    ("[audit]\nover-quota = 'shout'\n", ["line 2: audit.over-quota: shout: not one of ignore, warn,"]),
    ("[tenants.a]\n", ["line 1: tenants.a: has no limit"]),
    ("[tenants.'a/b']\nmem = '1G'\n", ["line 1: tenants.a/b: a/b: not a tenant's name"]),
    (
        "[tenants.a]\nmem = '1G'\nowner = 'nobody-of-this-name'\n",
        ["line 3: tenants.a.owner: there is no user nobody-of-this-name here"],
    ),
    (
        "[tenants.a]\nmem = '1G'\nmembers = 'bob'\nquota = 1\n",
        [
            "line 3: tenants.a.members: Expected `array`, got `str`",
            "line 4: tenants.a.quota: no such key",
        ],
    ),
)


@pytest.mark.parametrize(("text", "lines"), FAULTS, ids=lambda value: repr(value)[:40])
def test_every_fault_is_told_with_its_line_and_key(text: str, lines: list[str]) -> None:
    config, wrong = parse(text)
    assert config is None
    assert len(wrong) == len(lines)
    for one, line in zip(wrong, lines, strict=True):
        assert str(one).startswith(line)
        assert one.fatal


def test_a_name_of_nobody_is_told_and_keeps_nothing_from_working() -> None:
    config, wrong = parse(
        "[users.nobody-1]\nmem = '1G'\n[groups.nobody-2]\n[administrators]\nusers = ['nobody-3']\n"
        "[tenants.a]\nmem='1G'\nmembers = ['@nobody-4', 'root']\n"
    )
    assert config is not None
    assert [str(one) for one in wrong] == [
        "line 1: users.nobody-1: there is no user nobody-1 here",
        "line 3: groups.nobody-2: there is no group nobody-2 here",
        "line 5: administrators.users: there is no user nobody-3 here",
        "line 8: tenants.a.members: there is no group nobody-4 here",
    ]
    assert not any(one.fatal for one in wrong)


@given(st.text() | st.lists(st.sampled_from(WHOLE.splitlines())).map("\n".join))
def test_no_text_is_too_strange(text: str) -> None:
    config, wrong = parse(text)
    assert (config is None) == any(one.fatal for one in wrong)
    assert all("\n" not in str(one) for one in wrong)
