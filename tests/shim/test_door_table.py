"""Each function that may concern device memory is accounted for, and the page in docs says how."""

from __future__ import annotations

import pytest
from conftest import ROOT
from door_table import CLASSES, MEMORY, ROWS, needs_row, probes_of, table
from probing import COVERED, DOORS, FOLDER, MOVES, NOTHING, VERSIONS, WAYS
from test_hooks import RELEASES, declared, needs_headers

from gshare.shim.hooks import HOOKS

CUDA = {hook.name: hook for hook in HOOKS if hook.library == "CUDA"}


def test_the_page_is_up_to_date() -> None:
    page = (ROOT / "docs" / "doors.md").read_text()
    assert page == table(), "run: python tests/shim/door_table.py > docs/doors.md"


def test_every_function_that_may_take_memory_has_a_row() -> None:
    missing = [name for name, hook in CUDA.items() if needs_row(name, hook.hook_class) and name not in ROWS]
    assert missing == []


@needs_headers
@pytest.mark.parametrize("release", RELEASES)
def test_every_name_of_a_release_is_accounted_for(release: str) -> None:
    """By a row, or by its class: a function that a new release brings has neither."""
    names = declared(release)
    assert len(names) > 500
    assert [name for name in names if name not in ROWS and name not in CUDA] == []
    assert [n for n in names if n not in ROWS and CUDA[n].hook_class not in CLASSES] == []


def test_no_row_is_of_a_function_that_does_not_exist() -> None:
    assert [name for name in ROWS if name not in CUDA] == []


def test_what_is_said_to_be_held_is_hooked() -> None:
    torn = {
        name: by
        for name, row in ROWS.items()
        if row.effect in {"takes", "gives"}
        for by in row.by
        if by not in CUDA or not CUDA[by].hooked
    }
    assert torn == {}


def test_what_is_said_to_take_nothing_is_not_charged_by_a_hook_of_its_own() -> None:
    """A hook of these may watch: note a pool's device, or keep what was charged."""
    watched = MEMORY - {"ALLOC", "FREE", "ARRAY", "MODULE"}
    assert [
        name
        for name, row in ROWS.items()
        if row.effect in {"covered", "nothing"}
        and CUDA[name].hooked
        and CUDA[name].hook_class in MEMORY - watched
    ] == []


def test_a_class_without_rows_of_its_own_has_a_reason() -> None:
    rest = {hook.hook_class for name, hook in CUDA.items() if name not in ROWS}
    assert rest == set(CLASSES)
    assert not rest & MEMORY


def test_probes_and_rows_say_the_same() -> None:
    """What a probe finds charged is of a function that takes memory, or keeps or brings what was charged."""
    for door in DOORS:
        row = ROWS[door.name]
        if door.charge in {COVERED, MOVES}:
            assert row.effect in {"covered", "nothing"}, door
        elif door.charge != NOTHING:
            assert row.effect != "gives", door


def test_every_function_that_takes_or_gives_has_a_probe() -> None:
    without = {name for name, row in ROWS.items() if row.effect in {"takes", "gives"} and not probes_of(name)}
    assert without == set(NO_PROBE)


# What no device without a switch or a fabric has, and what needs a callback's graph.
NO_PROBE = {
    "cuLogicalEndpointDestroy",
    "cuLogicalEndpointUnbind",
    "cuStreamBeginRecaptureToGraph",
    "cuStreamBeginRecaptureToGraph_ptsz",
}


def test_the_functions_that_probes_call_are_looked_up_by_their_versions() -> None:
    """As the lookup table of the simulated driver has them, which is held against cudaTypedefs.h."""
    text = (ROOT / "shim" / "sim" / "driver" / "api.def").read_text()
    rows = {line.split("(")[1].split(",")[0]: line for line in text.splitlines() if line.startswith("API(")}
    ours = (FOLDER / "functions.def").read_text().splitlines()
    graphics = {"cuGLCtxCreate", "cuGLCtxCreate_v2", "cuVDPAUCtxCreate", "cuVDPAUCtxCreate_v2"}
    for line in ours:
        if not line.startswith("FUNCTION("):
            continue
        symbol, name, version, stream = line.removeprefix("FUNCTION(").rstrip(")").split(", ")
        wanted = f"API({symbol}, {name}, {version}, {'PER_THREAD' if stream == 'PER_THREAD' else 'PLAIN'})"
        assert symbol in graphics or rows[symbol] == wanted
    assert {door.name for door in DOORS} | {way.name for way in WAYS} <= set(VERSIONS)
