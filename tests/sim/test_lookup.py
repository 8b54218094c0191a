"""Functions by name: the simulated driver answers as a real one of its version would."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from documented_errors import cuda_headers

from gshare.shim import sim

ROOT = Path(__file__).resolve().parents[2]
REALS = [path for path in os.environ.get("GSHARE_TEST_REAL_LIBCUDA", "").split(":") if path]
SIMULATED_DRIVER = 13000
SUCCESS, NOT_FOUND, VERSION_NOT_SUFFICIENT = 0, 1, 2
UNTOUCHED = "untouched"


class Row(NamedTuple):
    symbol: str
    name: str
    version: int
    per_thread: bool


def rows() -> list[Row]:
    text = (ROOT / "shim" / "sim" / "driver" / "api.def").read_text()
    found = re.findall(r"^API\((\w+), (\w+), (\d+), (PLAIN|PER_THREAD)\)$", text, re.M)
    return [
        Row(symbol, name, int(version), stream == "PER_THREAD") for symbol, name, version, stream in found
    ]


ROWS = rows()
BY_NAME: dict[str, list[Row]] = {}
for _row in ROWS:
    BY_NAME.setdefault(_row.name, []).append(_row)

# Looks names up in the library argv[1]; an address is told by the symbols that have it.
LOOK_UP = """
import ctypes, json, sys
library, queries, symbols = ctypes.CDLL(sys.argv[1]), *json.load(sys.stdin)
where = {}
for symbol in symbols:
    try:
        address = ctypes.cast(getattr(library, symbol), ctypes.c_void_p).value
    except AttributeError:
        continue
    where.setdefault(address, []).append(symbol)
types = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_uint64]
ask, plain_ask = library.cuGetProcAddress_v2, library.cuGetProcAddress
ask.argtypes, plain_ask.argtypes = [*types, ctypes.c_void_p], types
found, status = ctypes.c_void_p(), ctypes.c_int()
to_found, to_status = ctypes.byref(found), ctypes.byref(status)
say = lambda p: "untouched" if p == 1 else where.get(p, p and "?")
answers = []
for name, version, flags in queries:
    name = name.encode()
    found.value, status.value = 1, -1
    answer = [ask(name, to_found, version, flags, to_status), say(found.value), status.value]
    found.value = 1
    answers.append([*answer, plain_ask(name, to_found, version, flags), say(found.value)])
version = ctypes.c_int()
library.cuDriverGetVersion(ctypes.byref(version))
print(json.dumps({"answers": answers, "version": version.value, "exported": sum(where.values(), [])}))
"""


def look_up(queries: list[tuple[str, int, int]], library: str = "") -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", LOOK_UP, library or f"{sim.LIBRARY_DIR}/libcuda.so.1"],
        input=json.dumps([queries, [row.symbol for row in ROWS]]),
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def ask(name: str, version: int, flags: int = 0) -> list[Any]:
    (answer,) = look_up([(name, version, flags)])["answers"]
    found: list[Any] = answer
    return found


def test_every_function_is_exported_at_an_address_of_its_own() -> None:
    exported = look_up([])["exported"]
    assert sorted(exported) == sorted(row.symbol for row in ROWS)
    answers = look_up([(row.name, row.version, 2 * row.per_thread) for row in ROWS])["answers"]
    for row, (_, symbols, *_) in zip(ROWS, answers, strict=True):
        assert row.version > 13000 or symbols == [row.symbol]


def test_the_version_picks_the_revision_of_a_function() -> None:
    assert ask("cuMemAlloc", 2000)[:3] == [0, ["cuMemAlloc"], SUCCESS]
    assert ask("cuMemAlloc", 3010)[:3] == [0, ["cuMemAlloc"], SUCCESS]
    assert ask("cuMemAlloc", 3020)[:3] == [0, ["cuMemAlloc_v2"], SUCCESS]
    assert ask("cuCtxCreate", 12000)[1] == ["cuCtxCreate_v3"]
    assert ask("cuCtxCreate", 13000)[1] == ["cuCtxCreate_v4"]
    assert ask("cuGetProcAddress", 11030)[1] == ["cuGetProcAddress"]
    assert ask("cuGetProcAddress", 12000)[1] == ["cuGetProcAddress_v2"]


def test_a_version_above_the_drivers_gives_its_newest_and_nothing_newer_than_it() -> None:
    assert ask("cuMemAlloc", 99999)[1] == ["cuMemAlloc_v2"]
    assert ask("cuLaunchHostFunc", 13050)[1] == ["cuLaunchHostFunc"]  # its second revision came with 13.1
    assert ask("cuGraphGetId", 13050)[:3] == [0, None, NOT_FOUND]  # came with 13.1


def test_what_is_not_there() -> None:
    assert ask("cuMemAlloc", 1000) == [0, None, VERSION_NOT_SUFFICIENT, 500, UNTOUCHED]
    for name in ("cuMemAlloc_v2", "cuNoSuch", ""):
        assert ask(name, 12000) == [0, None, NOT_FOUND, 500, UNTOUCHED]
    assert ask("cuMemAlloc", 12000, 4) == [1, UNTOUCHED, -1, 1, UNTOUCHED]


def test_flags_pick_the_per_thread_stream_where_a_function_has_one() -> None:
    assert ask("cuMemcpyHtoDAsync", 12000, 1)[1] == ["cuMemcpyHtoDAsync_v2"]
    assert ask("cuMemcpyHtoDAsync", 12000, 2)[1] == ["cuMemcpyHtoDAsync_v2_ptsz"]
    assert ask("cuMemcpyHtoD", 12000, 3)[1] == ["cuMemcpyHtoD_v2_ptds"]
    assert ask("cuMemcpyHtoD", 3020, 2)[:3] == [0, None, VERSION_NOT_SUFFICIENT]  # those came with 7.0
    assert ask("cuMemAlloc", 12000, 2)[1] == ["cuMemAlloc_v2"]


def expected(name: str, version: int, flags: int, driver: int) -> list[Any]:
    """Return what a driver of version `driver` answers, by the rows of api.def that it has."""
    known = [row for row in BY_NAME.get(name, []) if row.version <= driver]
    per_thread = flags in (2, 3) and any(row.per_thread for row in known)
    fitting = [row for row in known if row.version <= version and row.per_thread == per_thread]
    if flags > 3:
        return [1, UNTOUCHED, -1, 1, UNTOUCHED]
    if not fitting:
        return [0, None, VERSION_NOT_SUFFICIENT if known else NOT_FOUND, 500, UNTOUCHED]
    newest = [max(fitting, key=lambda row: row.version).symbol]
    return [0, newest, SUCCESS, 0, newest]


def typedefs() -> set[tuple[str, int, bool]]:
    """Return the rows of every cudaTypedefs.h at hand: name, version, whether of the per-thread stream."""
    found: set[tuple[str, int, bool]] = set()
    for header in cuda_headers():
        text = header.with_name("cudaTypedefs.h").read_text()
        for name, version, stream in re.findall(r"\*PFN_(cu\w+?)_v(\d+)(_ptsz|_ptds)?\)", text):
            found.add((name, int(version), bool(stream)))
    return found


@pytest.mark.skipif(not cuda_headers(), reason="no cudaTypedefs.h here (.ci/cuda-headers.sh makes some)")
def test_every_row_of_cudaTypedefs_is_in_the_table() -> None:
    listed = typedefs()
    assert len(listed) > 600
    assert listed - {(row.name, row.version, row.per_thread) for row in ROWS} == set()


def all_queries() -> list[tuple[str, int, int]]:
    """Return all names with all versions that brought one of them, some between, and all flags."""
    names = sorted({row.name for row in ROWS} | {"", "cuNoSuch", "cuMemAlloc_v2"})
    versions = sorted({0, 1000, 3010, 7050, 99999, *(row.version for row in ROWS)})
    return [(name, version, flags) for name in names for version in versions for flags in range(5)]


def test_every_name_is_found_in_the_revision_of_the_version_that_is_asked_for() -> None:
    queries = all_queries()
    assert len(queries) > 100_000
    answers = look_up(queries)["answers"]
    wrong = [(q, a) for q, a in zip(queries, answers, strict=True) if a != expected(*q, SIMULATED_DRIVER)]
    assert wrong == []


@pytest.mark.skipif(not REALS, reason="GSHARE_TEST_REAL_LIBCUDA names no real libcuda.so.1")
@pytest.mark.parametrize("library", REALS, ids=lambda path: Path(path).parent.name)
def test_a_real_driver_answers_every_lookup_as_the_simulated_one_would_at_its_version(library: str) -> None:
    queries = all_queries()
    real = look_up(queries, library)
    exported, version = set(real["exported"]), real["version"]
    assert 12000 <= version < SIMULATED_DRIVER
    # A driver answers for some functions that it does not export: there is no name to compare.
    hidden = {row.name for row in ROWS if row.version <= version and row.symbol not in exported}
    assert len(hidden) < 10
    wrong = [
        (query, answer)
        for query, answer in zip(queries, real["answers"], strict=True)
        for wanted in [expected(*query, version)]
        if answer != wanted
        and not (query[0] in hidden and [answer[0], *answer[2:4]] == [wanted[0], *wanted[2:4]])
    ]
    assert wrong == []


NAMES = """
import ctypes, json, sys
library = ctypes.CDLL(sys.argv[1])
answers = {}
for code in range(-1, 1100):
    name, text = ctypes.c_char_p(b"x"), ctypes.c_char_p(b"x")
    codes = [library.cuGetErrorName(code, ctypes.byref(name))]
    codes += [library.cuGetErrorString(code, ctypes.byref(text))]
    answers[code] = [*codes, name.value and name.value.decode(), bool(text.value)]
print(json.dumps(answers))
"""


def error_names(library: str) -> dict[str, list[Any]]:
    done = subprocess.run([sys.executable, "-c", NAMES, library], capture_output=True, text=True, check=True)
    answers: dict[str, list[Any]] = json.loads(done.stdout)
    return answers


def test_errors_have_names_and_unknown_codes_have_none() -> None:
    names = error_names(f"{sim.LIBRARY_DIR}/libcuda.so.1")
    assert names["2"] == [0, 0, "CUDA_ERROR_OUT_OF_MEMORY", True]
    assert names["916"] == [0, 0, "CUDA_ERROR_KEY_ROTATION", True]
    assert names["917"] == names["-1"] == [1, 1, None, False]
    assert sum(answer[0] == 0 for answer in names.values()) == 101


@pytest.mark.skipif(not REALS, reason="GSHARE_TEST_REAL_LIBCUDA names no real libcuda.so.1")
@pytest.mark.parametrize("library", REALS, ids=lambda path: Path(path).parent.name)
def test_errors_are_named_as_by_a_real_driver(library: str) -> None:
    ours, theirs = error_names(f"{sim.LIBRARY_DIR}/libcuda.so.1"), error_names(library)
    assert {code: answer for code, answer in theirs.items() if answer[0] == 0 and ours[code] != answer} == {}


def test_the_version_is_known_before_cuInit_and_private_tables_are_not() -> None:
    code = """
import ctypes, sys
cuda = ctypes.CDLL(sys.argv[1])
version, table = ctypes.c_int(), ctypes.c_void_p(5)
assert cuda.cuDriverGetVersion(ctypes.byref(version)) == 0
assert version.value == 13000
assert cuda.cuDriverGetVersion(None) == 1
assert cuda.cuGetExportTable(ctypes.byref(table), (ctypes.c_ubyte * 16)()) == 1
assert table.value == 5
assert cuda.cuDeviceGetCount(ctypes.byref(version)) == 3
"""
    subprocess.run([sys.executable, "-c", code, f"{sim.LIBRARY_DIR}/libcuda.so.1"], check=True)
