"""cuda-bindings: copy there and back, PTX, launch, captured graph, then pieces of 64 MiB until refused.

usage: bindings.py [PIECES]   at most that many pieces; prints one line of JSON
"""

import ctypes
import json
import sys
from typing import Any

from cuda.bindings import driver

PIECE_BYTES = 64 << 20
PTX = b""".version 7.0
.target sm_70
.address_size 64
.visible .entry nothing(.param .u64 .ptr .global .align 4 place, .param .u32 count)
{
    ret;
}
\0"""


def must(answer: tuple[Any, ...]) -> Any:
    code, *values = answer
    if code != driver.CUresult.CUDA_SUCCESS:
        raise SystemExit(f"{code}")
    return values[0] if len(values) == 1 else values


def main(most: int) -> dict[str, Any]:
    must(driver.cuInit(0))
    device = must(driver.cuDeviceGet(0))
    context = must(driver.cuDevicePrimaryCtxRetain(device))
    must(driver.cuCtxSetCurrent(context))
    free, total = must(driver.cuMemGetInfo())

    data, back = bytes(range(256)), bytearray(256)
    place = must(driver.cuMemAlloc(len(data)))
    must(driver.cuMemcpyHtoD(place, data, len(data)))
    must(driver.cuMemcpyDtoH(back, place, len(data)))

    kernel = must(driver.cuModuleGetFunction(must(driver.cuModuleLoadData(PTX)), b"nothing"))
    stream = must(driver.cuStreamCreate(driver.CUstream_flags.CU_STREAM_NON_BLOCKING))
    arguments = ((int(place), 64), (ctypes.c_void_p, ctypes.c_uint32))

    def launch() -> None:
        must(driver.cuLaunchKernel(kernel, 1, 1, 1, 32, 1, 1, 0, stream, arguments, 0))

    launch()
    must(driver.cuStreamBeginCapture(stream, driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_GLOBAL))
    launch()
    launch()
    graph = must(driver.cuStreamEndCapture(stream))
    _, nodes = must(driver.cuGraphGetNodes(graph)), must(driver.cuGraphGetNodes(graph, 16))[1]
    executable = must(driver.cuGraphInstantiate(graph, 0))
    must(driver.cuGraphLaunch(executable, stream))
    must(driver.cuStreamSynchronize(stream))

    pieces, refused = 0, None
    while pieces < most and refused is None:
        code, _ = driver.cuMemAlloc(PIECE_BYTES)
        if code == driver.CUresult.CUDA_SUCCESS:
            pieces += 1
        else:
            refused = code.name
    return {
        "client": "cuda-bindings",
        "device": must(driver.cuDeviceGetName(64, device)).split(b"\0")[0].decode(),
        "free_bytes": free,
        "total_bytes": total,
        "same": bytes(back) == data,
        "graph_nodes": nodes,
        "kernels": 3,
        "pieces": pieces,
        "refused": refused,
    }


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1 << 20)))
