"""Every road to the driver ends in the shim for what it hooks, and in the driver for all else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from interception import DRIVER, HOOKED, IS_SANITIZED, LIMITED, Programs, Road, names

from gshare.shim import LIBRARY

BY_NAME = [
    Road("linked", ("linked",), linked=True),
    Road("linked, RTLD_DEFAULT", ("default",), linked=True),
    Road("linked, RTLD_NEXT", ("next",), linked=True),
    Road("linked, dlopen(NULL)", ("self",), linked=True),
    Road("soname", ("dlsym", DRIVER)),
    Road("libcuda.so", ("dlsym", "libcuda.so")),
    Road("path", ("dlsym", "{driver}")),
    Road("copy", ("dlsym", "{copy}")),
    Road("copy, and no other driver", ("dlsym", "{copy}"), folder="nowhere"),
    Road("closed and opened again", ("reopened", DRIVER)),
    Road("RTLD_DEEPBIND", ("deepbind", "{driver}")),
    Road("RTLD_DEEPBIND of a linked library", ("client-linked", "{client}", DRIVER), environ=LIMITED),
    Road("RTLD_DEEPBIND, dlsym by the library", ("client-dlsym", "{client}", DRIVER), environ=LIMITED),
    Road("dlmopen", ("dlmopen", DRIVER)),
    Road("dlmopen of a copy, and no other driver", ("dlmopen", "{copy}"), folder="nowhere"),
    Road("dlvsym", ("dlvsym", "{versioned}"), folder="versioned"),
]
BY_LOOKUP = [
    Road("cuGetProcAddress", ("lookup", DRIVER)),
    Road("cuGetProcAddress_v2", ("lookup-v2", DRIVER)),
    Road("cuGetProcAddress_v2, linked", ("linked-lookup",), linked=True),
    Road("cuGetProcAddress found by itself", ("lookup-of-lookup", DRIVER)),
]
LOOKUPS = [
    f"{name} {version} {flags}"
    for name in [*names(), "cuNoSuchFunction"]
    for version in (2000, 11030, 12000, 13050)
    for flags in (0, 1, 2)
]


@pytest.mark.parametrize("road", BY_NAME, ids=str)
def test_a_function_found_by_name_is_the_hook_or_the_drivers_own(programs: Programs, road: Road) -> None:
    if IS_SANITIZED and "DEEPBIND" in road.name:
        pytest.skip("a sanitizer's runtime refuses RTLD_DEEPBIND")
    bare = programs.take(road, names())
    shim = programs.take(road, names(), LIBRARY)

    assert {name for name, answer in shim.items() if answer.is_hook} == HOOKED & set(names())
    assert {name: answer.symbol for name, answer in shim.items()} == {name: name for name in names()}
    assert all(answer.symbol == name and not answer.is_hook for name, answer in bare.items())


@pytest.mark.parametrize("road", BY_LOOKUP, ids=str)
def test_a_function_found_by_the_driver_is_replaced_by_address(programs: Programs, road: Road) -> None:
    bare = programs.take(road, LOOKUPS)
    shim = programs.take(road, LOOKUPS, LIBRARY)

    assert len(bare) == len(LOOKUPS)
    for line, driver in bare.items():
        answer = shim[line]
        assert replace(answer, file=None) == replace(driver, file=None), line
        assert answer.is_hook == (driver.symbol in HOOKED), line
    found = {answer.symbol for answer in shim.values() if answer.is_hook}
    assert {"cuGetProcAddress", "cuGetProcAddress_v2"} <= found


@pytest.mark.parametrize("first", ["{driver}", "{copy}"])
def test_a_second_driver_is_answered_from_the_first(programs: Programs, first: str) -> None:
    second = "{copy}" if first == "{driver}" else "{driver}"
    answers = programs.take(Road("second", ("second", first, second)), names(), LIBRARY)

    for name, answer in answers.items():
        assert answer.file == str(LIBRARY if name in HOOKED else first.format(**programs.files)), name


@pytest.mark.parametrize("arguments", [("dlsym", "libc.so.6"), ("self",)], ids=["libc", "dlopen(NULL)"])
def test_the_loaders_functions_are_ours_through_any_handle(
    programs: Programs, arguments: tuple[str, ...]
) -> None:
    road = Road("loader", arguments, linked=True)
    answers = programs.take(road, ["dlsym", "dlvsym", "dlopen", "dladdr"], LIBRARY)

    assert [name for name, answer in answers.items() if answer.is_hook] == ["dlsym", "dlvsym", "dlopen"]


def test_our_own_handle_does_not_make_us_the_driver(programs: Programs) -> None:
    answers = programs.take(Road("self", ("self",), linked=True), ["dlsym", "cuDeviceGetName"], LIBRARY)

    assert answers["dlsym"].is_hook
    assert answers["cuDeviceGetName"].file == str(programs.files["driver"])


def test_functions_that_a_driver_lacks_stay_missing(programs: Programs) -> None:
    road = Road("soname", ("dlsym", DRIVER))
    missing = ["cuNoSuchFunction", "cublasCreate_v2", "nvmlInit_v2", "curl_easy_init"]

    assert all(answer.file is None for answer in programs.take(road, missing, LIBRARY).values())


def test_nvml_is_replaced_too(programs: Programs) -> None:
    road = Road("NVML", ("dlsym", "libnvidia-ml.so.1"))
    answers = programs.take(road, names("NVML"), LIBRARY)

    assert {name for name, answer in answers.items() if answer.is_hook} == HOOKED & set(names("NVML"))
    assert all(answer.symbol == name for name, answer in answers.items())


@pytest.mark.parametrize(
    "limits", [{}, {**LIMITED, "GSHARE_KEEP_DEEPBIND": "1"}], ids=["no limit", "GSHARE_KEEP_DEEPBIND"]
)
def test_deepbind_is_left_alone_without_a_limit_and_on_request(
    programs: Programs, limits: dict[str, str]
) -> None:
    road = Road("deepbind", ("client-linked", "{client}", DRIVER))

    assert not any(
        answer.is_hook for answer in programs.take(road, names(), LIBRARY, environ=limits).values()
    )
