"""The shim's pure share functions (bucket.h, charge.h), compiled once per test run and called from Python."""

import ctypes
import subprocess
import tempfile
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
MS = 1_000_000
US = 1_000


class Line(ctypes.Structure):
    """struct gs_line."""

    _fields_ = (
        ("t0_ns", ctypes.c_uint64),
        ("allowance_ns", ctypes.c_int64),
        ("burst_ns", ctypes.c_uint64),
        ("resume_ns", ctypes.c_uint64),
        ("in_flight_ns", ctypes.c_uint64),
        ("lease_until_ns", ctypes.c_uint64),
        ("rate_ppm", ctypes.c_uint32),
        ("guarantee_ppm", ctypes.c_uint32),
        ("seq", ctypes.c_uint32),
    )


class Turn(ctypes.Structure):
    """struct gs_turn."""

    _fields_ = (("from_ns", ctypes.c_uint32), ("tenant_index", ctypes.c_uint32))


class Turns(ctypes.Structure):
    """struct gs_turns."""

    _fields_ = (
        ("seq", ctypes.c_uint32),
        ("count", ctypes.c_uint32),
        ("period_ns", ctypes.c_uint64),
        ("pad", ctypes.c_uint8 * 16),
        ("turn", Turn * 256),
    )


class Owed(ctypes.Structure):
    """struct gs_owed."""

    _fields_ = (
        ("own_ns", ctypes.c_uint64),
        ("all_ns", ctypes.c_uint64),
        ("owed_ns", ctypes.c_int64),
        ("due_ns", ctypes.c_int64),
        ("forgiven_ns", ctypes.c_int64),
        ("waited_ns", ctypes.c_uint64),
        ("known", ctypes.c_bool),
    )


class Part(ctypes.Structure):
    """struct gs_turn_part."""

    _fields_ = (("length_ns", ctypes.c_uint64), ("wanted_ns", ctypes.c_uint64))


class Slices(ctypes.Structure):
    """struct gs_slices."""

    _fields_ = (
        ("slice_ns", ctypes.c_uint64),
        ("found_ns", ctypes.c_uint64),
        ("known", ctypes.c_bool),
        ("count", ctypes.c_uint32),
        ("said_ns", ctypes.c_uint64 * 32),
    )


class Said(ctypes.Structure):
    """struct gs_slices_said."""

    _fields_ = (("sum_ns", ctypes.c_uint64), ("count", ctypes.c_uint64))


class Phase(ctypes.Structure):
    """struct gs_phase."""

    _fields_ = (("used_ns", ctypes.c_uint64), ("known", ctypes.c_bool))


def new_session() -> Phase:
    """gs_phase_new."""
    return Phase(known=True)


class Seen(ctypes.Structure):
    """struct gs_seen."""

    _fields_ = (
        ("elapsed_ns", ctypes.c_uint64),
        ("learnt_ns", ctypes.c_uint64),
        ("busy_milli", ctypes.c_uint32),
        ("alone_ns", ctypes.c_uint64),
        ("part_ns", ctypes.c_uint64),
        ("launch_ns", ctypes.c_uint64),
    )


class Own(ctypes.Structure):
    """struct gs_own."""

    _fields_ = (("ns", ctypes.c_uint64), ("rounds", ctypes.c_uint64), ("guessed", ctypes.c_bool))


class Loss(ctypes.Structure):
    """struct gs_loss."""

    _fields_ = (
        ("at_ns", ctypes.c_uint64),
        ("switch_ns", ctypes.c_uint64),
        ("slice_ns", ctypes.c_uint64),
        ("ppm", ctypes.c_uint32),
        ("anew", ctypes.c_uint32),
    )


class Span(ctypes.Structure):
    """One element of struct gs_union."""

    _fields_ = (("from_ns", ctypes.c_int64), ("to_ns", ctypes.c_int64), ("room_ns", ctypes.c_uint64))


class Union(ctypes.Structure):
    """struct gs_union."""

    _fields_ = (("count", ctypes.c_uint32), ("span", Span * 16))


class Look(ctypes.Structure):
    """struct gs_look."""

    _fields_ = (
        ("at_ns", ctypes.c_uint64),
        ("busy", ctypes.c_uint32),
        ("light", ctypes.c_uint32),
        ("others_ns", ctypes.c_uint64),
    )


class History(ctypes.Structure):
    """struct gs_history."""

    _fields_ = (("count", ctypes.c_uint32), ("look", Look * 64))


class Busy(ctypes.Structure):
    """struct gs_busy."""

    _fields_ = (
        ("milli", ctypes.c_uint32),
        ("alone_ns", ctypes.c_uint64),
        ("part_ns", ctypes.c_uint64),
        ("light_ns", ctypes.c_uint64),
        ("others_ns", ctypes.c_uint64),
    )


@cache
def core() -> ctypes.CDLL:
    """The compiled functions, with the result types that ctypes cannot guess."""
    source = ROOT / "tests/programs/share_core.c"
    flags = ["-std=gnu17", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    with tempfile.TemporaryDirectory(prefix="gshare-core-") as folder:
        target = Path(folder, "libcore.so")
        subprocess.run(["cc", *flags, f"-I{ROOT}/shim/src", str(source), "-o", str(target)], check=True)
        library = ctypes.CDLL(str(target))  # stays mapped when the file is gone
    for name, result in {
        "line_read": ctypes.c_bool,
        "line_at": ctypes.c_int64,
        "look": ctypes.c_int64,
        "open": ctypes.c_bool,
        "wait_ns": ctypes.c_uint64,
        "slices_window_ns": ctypes.c_uint64,
        "take_lights": ctypes.c_uint64,
        "loss_on_top": ctypes.c_uint64,
        "without_gaps": ctypes.c_uint64,
        "union_add": ctypes.c_uint64,
        "union_charge": ctypes.c_uint64,
        "turns_read": ctypes.c_bool,
        "turn_place": ctypes.c_uint32,
        "turn_holder": ctypes.c_uint32,
        "turn_is_late": ctypes.c_bool,
        "owed_say": ctypes.c_int64,
        "owed_hear": ctypes.c_int64,
        "owed_due": ctypes.c_int64,
        "owed_window": ctypes.c_int64,
    }.items():
        getattr(library, f"core_{name}").restype = result
    library.core_line_read.argtypes = [ctypes.c_void_p, ctypes.POINTER(Line)]
    library.core_slices_init.argtypes = [ctypes.POINTER(Slices)]
    library.core_line_at.argtypes = [ctypes.POINTER(Line), ctypes.c_uint64]
    library.core_look.argtypes = [ctypes.POINTER(ctypes.c_int64), ctypes.POINTER(Line), ctypes.c_uint64]
    library.core_open.argtypes = [ctypes.POINTER(Line), ctypes.c_int64, ctypes.c_int64, ctypes.c_bool]
    library.core_wait_ns.argtypes = [ctypes.POINTER(Line), ctypes.c_int64]
    library.core_slices_round.argtypes = [
        ctypes.POINTER(Slices),
        ctypes.c_uint64,
        ctypes.c_uint32,
        ctypes.c_uint64,
    ]
    library.core_slices_hear.argtypes = [ctypes.POINTER(Said), ctypes.c_uint64]
    library.core_slices_adopt.argtypes = [ctypes.POINTER(Slices), ctypes.c_uint64]
    library.core_slices_window_ns.argtypes = [ctypes.POINTER(Slices)]
    library.core_own.argtypes = [ctypes.POINTER(kind) for kind in (Slices, Seen, Phase, Own)]
    library.core_take_lights.argtypes = [ctypes.POINTER(ctypes.c_uint64), ctypes.c_uint64]
    library.core_loss_look.argtypes = [ctypes.POINTER(Loss), *[ctypes.c_uint64] * 3]
    library.core_loss_on_top.argtypes = [ctypes.POINTER(Loss), ctypes.c_uint64]
    library.core_without_gaps.argtypes = [ctypes.c_uint64] * 3
    library.core_union_add.argtypes = [ctypes.POINTER(Union), ctypes.c_int64, ctypes.c_int64]
    library.core_union_charge.argtypes = [
        ctypes.POINTER(Union),
        ctypes.c_int64,
        ctypes.c_int64,
        *[ctypes.c_uint64] * 2,
    ]
    library.core_history_add.argtypes = [
        ctypes.POINTER(History),
        ctypes.c_uint64,
        ctypes.c_uint32,
        ctypes.c_uint32,
        ctypes.c_uint64,
    ]
    library.core_turns_read.argtypes = [ctypes.POINTER(Turns)] * 2
    library.core_turn_place.argtypes = [
        ctypes.POINTER(Turns),
        ctypes.c_uint64,
        ctypes.POINTER(ctypes.c_uint64),
        ctypes.POINTER(ctypes.c_uint64),
    ]
    library.core_turn_holder.argtypes = [
        ctypes.POINTER(Turns),
        ctypes.c_uint32,
        ctypes.POINTER(ctypes.c_bool),
        ctypes.POINTER(ctypes.c_int64),
    ]
    library.core_turn_is_late.argtypes = [
        ctypes.POINTER(Turns),
        ctypes.POINTER(Part),
        ctypes.c_int64,
        ctypes.c_uint64,
    ]
    library.core_owed_say.argtypes = [ctypes.POINTER(Owed), ctypes.POINTER(Part), ctypes.c_bool]
    library.core_owed_hear.argtypes = [
        ctypes.c_int64,
        ctypes.c_uint64,
        ctypes.c_uint64,
        ctypes.POINTER(Part),
    ]
    library.core_owed_due.argtypes = [ctypes.POINTER(Turns), ctypes.c_uint32, ctypes.c_uint64]
    library.core_owed_look.argtypes = [
        ctypes.POINTER(Owed),
        ctypes.c_uint64,
        ctypes.c_uint64,
        ctypes.c_int64,
        ctypes.POINTER(Part),
        ctypes.c_int64,
        ctypes.c_uint64,
    ]
    library.core_owed_window.argtypes = [
        ctypes.POINTER(Owed),
        ctypes.POINTER(Part),
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_int64,
    ]
    library.core_history_busy.argtypes = [
        ctypes.POINTER(History),
        ctypes.c_uint64,
        ctypes.c_uint64,
        ctypes.POINTER(Busy),
    ]
    return library
