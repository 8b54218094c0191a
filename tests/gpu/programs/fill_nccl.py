"""NCCL in one process: two communicators of one rank each, a sum through each; then the GPU is filled.

Two ranks of one communicator cannot be on one device: NCCL refuses that itself, which is tried and reported.
"""

import ctypes
import importlib.util
import subprocess
import sys
from pathlib import Path

from filling import MIB, Driver, DriverError, DriverMemory, run

TWO_RANKS = "--two-ranks"
FLOAT, SUM = 7, 0
COUNT = 4 * MIB // 4


class UniqueId(ctypes.Structure):
    _fields_ = (("bytes", ctypes.c_char * 128),)


def library() -> ctypes.CDLL:
    """NCCL as the package of its own has it, else as the system has."""
    found = importlib.util.find_spec("nvidia.nccl") if importlib.util.find_spec("nvidia") else None
    for folder in (found and found.submodule_search_locations) or ():
        for path in Path(folder).glob("lib/libnccl.so*"):
            return ctypes.CDLL(str(path))
    return ctypes.CDLL("libnccl.so.2")


class Client:
    errors = (DriverError,)

    def __init__(self) -> None:
        self.driver = Driver()
        self.driver.primary_context()
        self.nccl = library()
        self.communicators = [self._communicator() for _ in range(2)]
        self.stream = ctypes.c_void_p()
        self.driver.must("cuStreamCreate", ctypes.byref(self.stream), 1)

    def _must(self, name: str, *args: object) -> None:
        code = getattr(self.nccl, name)(*args)
        if code:
            raise SystemExit(f"{name}: NCCL's error {code}")

    def _communicator(self) -> ctypes.c_void_p:
        name, communicator = UniqueId(), ctypes.c_void_p()
        self._must("ncclGetUniqueId", ctypes.byref(name))
        self._must("ncclCommInitRank", ctypes.byref(communicator), 1, name, 0)
        return communicator

    def take(self, size: int) -> DriverMemory:
        return DriverMemory(self.driver, size)

    def give_back(self) -> None:
        pass

    def check(self) -> bool:
        values = (ctypes.c_float * COUNT)(*([2.0] * COUNT))
        size = ctypes.c_size_t(4 * COUNT)
        sums = (ctypes.c_float * COUNT)()
        right = True
        for communicator in self.communicators:
            source, target = DriverMemory(self.driver, 4 * COUNT), DriverMemory(self.driver, 4 * COUNT)
            self.driver.must("cuMemcpyHtoD_v2", ctypes.c_uint64(source.address), values, size)
            self._must(
                "ncclAllReduce",
                ctypes.c_void_p(source.address),
                ctypes.c_void_p(target.address),
                ctypes.c_size_t(COUNT),
                FLOAT,
                SUM,
                communicator,
                self.stream,
            )
            self.driver.must("cuStreamSynchronize", self.stream)
            self.driver.must("cuMemcpyDtoH_v2", sums, ctypes.c_uint64(target.address), size)
            right &= sums[0] == sums[COUNT - 1] == 2.0
        return right

    def total(self) -> int:
        return self.driver.total()


def two_ranks() -> None:
    """Print NCCL's answer to two ranks on one device."""
    communicators, devices = (ctypes.c_void_p * 2)(), (ctypes.c_int * 2)(0, 0)
    print(library().ncclCommInitAll(communicators, 2, devices), flush=True)


def answer_to_two_ranks() -> str:
    """As another process hears it: NCCL may not go on after it."""
    command = [sys.executable, __file__, TWO_RANKS]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout.strip()
    except subprocess.TimeoutExpired:
        return "none in a minute"


if __name__ == "__main__":
    if sys.argv[1:] == [TWO_RANKS]:
        two_ranks()
    else:
        run(Client, code_for_two_ranks=answer_to_two_ranks())
