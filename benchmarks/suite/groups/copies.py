"""What a copy between a GPU and its host, or on the GPU, still carries under a quota with room to spare."""

from __future__ import annotations

from gshare.benchmarks.suite.arms import MEMORY, Arm
from gshare.benchmarks.suite.ground import GIB, Ground
from gshare.benchmarks.suite.metrics import HIGHER, Found, Metric, Trial
from gshare.benchmarks.suite.rivals import Ask

QUOTA = 8 * GIB
PIECE, PIECES = 64 << 20, 64
PIECE_SIMULATED, PIECES_SIMULATED = 16 << 20, 8
"""The host carries the simulated ones."""

COPIES = {
    "to_device": Metric("copies.to_device", "pinned memory of the host to the device", "GB/s", HIGHER),
    "to_host": Metric("copies.to_host", "the device to pinned memory of the host", "GB/s", HIGHER),
    "on_device": Metric("copies.on_device", "within the device", "GB/s", HIGHER),
    "small": Metric("copies.small", "cuMemcpyHtoD of 4 KiB, one after another", "ns"),
}


def _copies(ground: Ground, arm: Arm, block: int) -> Found:
    piece, pieces = (PIECE_SIMULATED, PIECES_SIMULATED) if ground.simulated else (PIECE, PIECES)
    said = ground.ask(arm, Ask(memory_bytes=QUOTA), "copies", str(piece), str(pieces))
    return Found({metric.id: said[name] for name, metric in COPIES.items()}, said)


TRIALS = [Trial("pieces", "copies", tuple(COPIES.values()), _copies, uses=frozenset({MEMORY}), seconds=0.5)]
