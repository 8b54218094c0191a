"""Frameworks as people use them meet the quota as they would meet the end of a smaller GPU."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Gpu

pytestmark = pytest.mark.gpu

GIB = 1 << 30
PIECE = 64 << 20

TORCH = """
import json, torch
free, total = torch.cuda.mem_get_info()
kept, refused = [], None
while refused is None and len(kept) < 64:
    try:
        kept.append(torch.empty(64 << 20, dtype=torch.uint8, device="cuda"))
    except torch.cuda.OutOfMemoryError as error:
        refused = str(error)
got = len(kept) << 26
del kept
torch.cuda.empty_cache()
x = torch.ones(1024, 1024, device="cuda")
print(json.dumps({"total": total, "got": got, "refused": refused, "sum": float((x @ x).sum())}))
"""

TORCH_GRAPH = """
import json, torch
x = torch.ones(1024, 1024, device="cuda")
stream = torch.cuda.Stream()
with torch.cuda.stream(stream):
    y = x @ x
torch.cuda.synchronize()
graph = torch.cuda.CUDAGraph()
with torch.cuda.graph(graph):
    y = x @ x
graph.replay()
torch.cuda.synchronize()
print(json.dumps({"sum": float(y.sum())}))
"""

CUPY = """
import json, cupy
kept, refused = [], None
while refused is None and len(kept) < 64:
    try:
        kept.append(cupy.empty(64 << 20, dtype=cupy.uint8))
    except cupy.cuda.memory.OutOfMemoryError as error:
        refused = str(error)
got = len(kept) << 26
print(json.dumps({"total": cupy.cuda.runtime.memGetInfo()[1], "got": got, "refused": refused}))
"""

NUMBA = """
import json
import numpy as np
from numba import cuda
kept, refused = [], None
while refused is None and len(kept) < 64:
    try:
        kept.append(cuda.device_array(64 << 20, dtype=np.uint8))
    except Exception as error:
        refused = str(error)
got = len(kept) << 26
print(json.dumps({"total": cuda.current_context().get_memory_info().total, "got": got, "refused": refused}))
"""


def needs(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")


@pytest.mark.parametrize(("module", "program"), [("torch", TORCH), ("cupy", CUPY), ("numba.cuda", NUMBA)])
def test_a_framework_gets_its_own_out_of_memory_error(gpu: Gpu, module: str, program: str) -> None:
    needs(module.partition(".")[0])
    if gpu.simulated and module != "numba.cuda":
        pytest.skip(f"{module} needs NVIDIA's runtime, which asks a real driver for private tables")
    (said,) = gpu.run(["--mem=3G"], "-c", program)
    assert said["refused"]
    assert said["total"] == 3 * GIB
    assert GIB < said["got"] < 3 * GIB
    assert said.get("sum", 1024.0**3) == 1024.0**3
    (bare,) = gpu.run(None, "-c", program)
    assert bare["refused"] is None
    assert bare["got"] == 64 * PIECE


def test_torch_replays_a_graph_under_a_share(gpu: Gpu) -> None:
    needs("torch")
    if gpu.simulated:
        pytest.skip("torch needs NVIDIA's runtime, which asks a real driver for private tables")
    (said,) = gpu.run(["--mem=4G", "--compute=50%"], "-c", TORCH_GRAPH)
    assert said["sum"] == 1024.0**3
