"""Which codes each driver function may return, as the comments in cuda.h document it."""

from __future__ import annotations

import os
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

HEADERS = "GSHARE_TEST_CUDA_HEADERS"

COMMENT = re.compile(
    r"/\*\*((?:(?!\*/).)*)\*/\s*"  # the comment
    r"(?:#[^\n]*\n|\s|__CUDA_DEPRECATED\b)*"
    r"CUresult CUDAAPI\s+(cu\w+)\s*\(",
    re.S,
)
SPELLING = re.compile(r"(_v\d+)?(_ptsz|_ptds)?$")

# \notefnerr: "may also return error codes from previous, asynchronous launches" - what a kernel can end in.
ASYNCHRONOUS = frozenset({214, 220, 226, 700, 702, 710, 714, 715, 716, 717, 718, 719, 721})

# Documented where the codes are, in the words of any call: success; a parameter "is not within an acceptable
# range of values"; not initialised; shutting down; "no context bound to the calling thread"; a handle that
# "was not valid"; the current context has been destroyed.
ANY_CALL = frozenset({0, 1, 3, 4, 201, 400, 709})

# "The attempted operation is not supported": any call's, but no answer of one that is implemented.
NOT_SUPPORTED = 801

# cuStreamBeginCapture: what is unsafe during a capture fails, whatever the call's own comment says.
CAPTURE = frozenset(range(900, 909))

IMAGE = "what drivers answer to an image that is none; the comment names the errors of PTX only"
FILE = "the file is missing; cuModuleLoad documents the same"
DEVICE = "a device that does not exist, in a structure; the comment names no error for it"
MEMORY_NODES = "a graph with memory nodes is neither cloned nor loses nodes; the comment names no error"
LAUNCHED = "graphs cannot be launched from this device"
STATE = "the stream is in no state for this; the comment says when it fails but not how"

# What drivers return and the comment leaves out.
ADDITIONS: Mapping[str, Mapping[int, str]] = {
    "cuModuleLoad": {200: IMAGE},
    "cuModuleLoadData": {200: IMAGE},
    "cuModuleLoadDataEx": {200: IMAGE},
    "cuModuleLoadFatBinary": {200: IMAGE},
    "cuLibraryLoadData": {200: IMAGE},
    "cuLibraryLoadFromFile": {200: IMAGE, 301: FILE},
    "cuInit": {100: "what a driver without a device answers"},
    "cuDeviceGetLuid": {801: "a Linux system has no such identifiers"},
    "cuDeviceSetMemPool": {101: DEVICE},
    "cuMemPoolCreate": {101: DEVICE},
    "cuMemPoolSetAccess": {101: DEVICE},
    "cuMemGetAllocationGranularity": {101: DEVICE},
    "cuLaunchKernelEx": {912: "the error for clusters; the comment names none"},
    "cuGraphClone": {801: MEMORY_NODES},
    "cuGraphDestroyNode": {801: MEMORY_NODES},
    "cuGraphInstantiateWithFlags": {801: LAUNCHED},
    "cuStreamBeginCapture": {401: STATE},
    "cuStreamEndCapture": {401: STATE},
}


def cuda_headers() -> list[Path]:
    """Return the cuda.h of several releases, oldest first: one alone misses what others document."""
    folder = os.environ.get(HEADERS)
    return sorted(Path(folder).glob("*/include/cuda.h")) if folder else []


def base_name(function: str) -> str:
    """Return the name by which cuda.h documents an exported function."""
    return SPELLING.sub("", function)


def documented(headers: Iterable[Path]) -> dict[str, frozenset[int]]:
    """Return the documented codes by name; a function that changed has those of all its revisions."""
    codes: dict[str, set[int]] = defaultdict(set)
    for header in headers:
        text = header.read_text()
        numbers = {
            name: int(number) for name, number in re.findall(r"^\s*(CUDA_\w+)\s*=\s*(\d+)\s*,?", text, re.M)
        }
        for comment, function in COMMENT.findall(text):
            named = {
                numbers[name]
                for name in re.findall(r"CUDA_(?:ERROR_\w+|SUCCESS)\b", comment)
                if name in numbers
            }
            codes[base_name(function)] |= named
            if "\\notefnerr" in comment:
                codes[base_name(function)] |= ASYNCHRONOUS
        for documented_name, exported in re.findall(r"^#define (cu\w+) +(cu\w+)$", text, re.M):
            codes[base_name(exported)] |= codes[base_name(documented_name)]
    return {name: frozenset(found) for name, found in codes.items() if found}


def allowed(function: str, codes: Mapping[str, frozenset[int]], capturing: bool = False) -> frozenset[int]:
    """Return the codes that an implemented function may return, by its exported name."""
    name = base_name(function)
    during_capture = CAPTURE if capturing else frozenset()
    return codes.get(name, frozenset()) | ANY_CALL | ADDITIONS.get(name, {}).keys() | during_capture


def not_implemented(library: Path) -> set[str]:
    """Return what a simulated driver exports and does not implement: its weak functions."""
    command = ["nm", "-D", "--defined-only", "--format=posix", str(library)]
    symbols = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {line.split()[0] for line in symbols.splitlines() if line.split()[1] == "W"}
