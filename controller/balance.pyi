from collections.abc import Sequence
from typing import Final

PERIOD_NS: Final[int]
LEASE_NS: Final[int]

Sharer = tuple[memoryview, memoryview, memoryview, int, int, int, int, int, bool]

def demand(used_ppm: int, waited: bool, claims: bool, guarantee_ppm: int, ceiling_ppm: int) -> int: ...

class Device:
    def __init__(self, tenants: Sequence[Sharer]) -> None: ...
    def tick(self, now_ns: int) -> None: ...
