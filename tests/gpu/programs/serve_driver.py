"""The same as serve_torch.py by the driver alone: it needs no framework, and runs on the simulated GPU, too.

Nine tenths of the total less what is in use as blocks of a KV cache, graphs with memory of their own, many
small workspaces on a stream, and at last workspaces until there is no memory.
"""

import argparse
import ctypes

from filling import MIB, Driver, DriverError, DriverMemory, exhaust, say

LAYERS, BLOCK = 8, 2 * MIB
GRAPHS, REQUESTS, WORKSPACES = 6, 50, 64
UTILISATION = 0.9
NON_BLOCKING = 1


def at(value: object) -> object:
    return ctypes.byref(value)  # type: ignore[arg-type]


class Server:
    def __init__(self) -> None:
        self.driver = Driver()
        self.driver.primary_context()
        self.stream = ctypes.c_void_p()
        self.driver.must("cuStreamCreate", at(self.stream), NON_BLOCKING)

    def capture(self, size: int) -> ctypes.c_void_p:
        """A graph that allocates, fills and frees `size` bytes."""
        graph, executable, address = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_uint64()
        must = self.driver.must
        must("cuStreamBeginCapture_v2", self.stream, 1)
        must("cuMemAllocAsync", at(address), ctypes.c_size_t(size), self.stream)
        must("cuMemsetD8Async", address, 1, ctypes.c_size_t(size), self.stream)
        must("cuMemFreeAsync", address, self.stream)
        must("cuStreamEndCapture", self.stream, at(graph))
        must("cuGraphInstantiateWithFlags", at(executable), graph, ctypes.c_ulonglong(0))
        must("cuGraphDestroy", graph)
        return executable

    def request(self, graph: ctypes.c_void_p, number: int) -> None:
        must = self.driver.must
        addresses = [ctypes.c_uint64() for _ in range(WORKSPACES)]
        for i, address in enumerate(addresses):
            size = 4 + 4 * ((7919 * (i + number)) % 65536)
            must("cuMemAllocAsync", at(address), ctypes.c_size_t(size), self.stream)
            must("cuMemsetD8Async", address, 0, ctypes.c_size_t(size), self.stream)
        must("cuGraphLaunch", graph, self.stream)
        for address in addresses:
            must("cuMemFreeAsync", address, self.stream)
        must("cuStreamSynchronize", self.stream)

    def intact(self, memory: DriverMemory) -> bool:
        """Nobody has written into the cache."""
        back = (ctypes.c_uint8 * MIB)()
        self.driver.must("cuMemcpyDtoH_v2", back, ctypes.c_uint64(memory.address), ctypes.c_size_t(MIB))
        return not any(bytes(back))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", type=int, required=True, help="bytes that it takes at most")
    most = parser.parse_args().target

    server = Server()
    weights = [DriverMemory(server.driver, 8 * MIB) for _ in range(LAYERS)]
    free, total = server.driver.memory_info()
    wanted = min(int(UTILISATION * total) - (total - free), most)
    blocks = wanted // LAYERS // BLOCK
    cache = [DriverMemory(server.driver, blocks * BLOCK) for _ in range(LAYERS)]
    graphs = [server.capture(MIB << i) for i in range(GRAPHS)]
    for number in range(REQUESTS):
        server.request(graphs[number % GRAPHS], number)

    refusal = exhaust(lambda size: DriverMemory(server.driver, size), DriverError, most)
    right = all(map(server.intact, weights + cache))
    server.request(graphs[0], 0)  # what was there goes on
    taken = blocks * LAYERS * BLOCK
    say(
        got_bytes=taken,
        again_bytes=taken,
        refusal=refusal,
        right=right,
        own_total_bytes=total,
        kv_blocks=blocks * LAYERS,
        graphs=len(graphs),
    )


if __name__ == "__main__":
    main()
