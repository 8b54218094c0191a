"""PyTorch with the allocator that PYTORCH_CUDA_ALLOC_CONF asks for, eager or by torch.compile."""

import os
from typing import Any

import torch
from filling import run

COMPILED = os.environ.get("FILL_COMPILED") == "1"


class Client:
    errors = (torch.cuda.OutOfMemoryError,)

    def __init__(self) -> None:
        torch.cuda.init()
        self.model = torch.nn.Sequential(
            torch.nn.Linear(1024, 4096), torch.nn.GELU(), torch.nn.Linear(4096, 1024)
        ).cuda()
        self.step: Any = torch.compile(self._step) if COMPILED else self._step

    def _step(self, x: torch.Tensor) -> torch.Tensor:
        return (self.model(x) - x).square().mean()

    def take(self, size: int) -> torch.Tensor:
        return torch.zeros(size, dtype=torch.uint8, device="cuda")

    def give_back(self) -> None:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()

    def check(self) -> bool:
        """A product that is known, and a training step whose loss falls."""
        ones = torch.ones(1024, 1024, device="cuda")
        optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-2)
        x = torch.randn(256, 1024, device="cuda", generator=torch.Generator("cuda").manual_seed(1))
        losses = []
        for _ in range(3):
            optimizer.zero_grad()
            loss = self.step(x)
            loss.backward()
            optimizer.step()
            losses.append(float(loss))
        return float((ones @ ones).sum()) == 1024.0**3 and losses[2] < losses[0]

    def total(self) -> int:
        return int(torch.cuda.mem_get_info()[1])


if __name__ == "__main__":
    run(Client, version=torch.__version__, allocator=torch.cuda.get_allocator_backend())
