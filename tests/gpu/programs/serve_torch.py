"""An inference server by torch: asks how much memory there is, takes nine tenths of it, captures graphs.

Weights, a profiling run, then as many blocks of a KV cache as fit in 90 % of the total less what is in use,
one tensor a layer; a graph for each batch size, all in one pool; requests with many small workspaces; and at
last workspaces until there is no memory.
"""

import argparse

import torch
from filling import MIB, exhaust, say

LAYERS, WIDTH, BLOCK = 8, 1024, 2 * MIB
BATCHES = (1, 2, 4, 8, 16, 32)
UTILISATION = 0.9
REQUESTS = 50


class Layer(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = torch.nn.Linear(WIDTH, 4 * WIDTH), torch.nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(torch.nn.functional.gelu(self.up(x)))


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", type=int, required=True, help="bytes that it takes at most")
    most = parser.parse_args().target

    model = torch.nn.Sequential(*(Layer() for _ in range(LAYERS))).half().cuda().eval()
    model(torch.randn(2048, WIDTH, dtype=torch.half, device="cuda"))  # the profiling run
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info()
    wanted = min(int(UTILISATION * total) - (total - free), most)
    blocks = wanted // LAYERS // BLOCK
    cache = [torch.zeros(blocks, BLOCK, dtype=torch.uint8, device="cuda") for _ in range(LAYERS)]

    graphs, inputs, outputs, pool = {}, {}, {}, None
    for batch in reversed(BATCHES):
        inputs[batch] = torch.ones(batch, WIDTH, dtype=torch.half, device="cuda")
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            model(inputs[batch])
        torch.cuda.synchronize()
        graphs[batch] = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graphs[batch], pool=pool):
            outputs[batch] = model(inputs[batch])
        pool = pool or graphs[batch].pool()

    right = True
    for request in range(REQUESTS):
        batch = BATCHES[request % len(BATCHES)]
        workspaces = [torch.empty(1 + (7919 * i) % 65536, device="cuda") for i in range(64)]
        graphs[batch].replay()
        right &= bool(torch.allclose(outputs[batch], model(inputs[batch]), atol=1e-2))
        del workspaces

    refusal = exhaust(
        lambda size: torch.zeros(size, dtype=torch.uint8, device="cuda"), torch.cuda.OutOfMemoryError, most
    )
    torch.cuda.empty_cache()
    graphs[1].replay()  # what was there goes on
    torch.cuda.synchronize()
    right &= bool(torch.isfinite(outputs[1]).all())
    taken = sum(layer.numel() for layer in cache)
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
