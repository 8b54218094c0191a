"""JAX with the allocator that XLA_PYTHON_CLIENT_PREALLOCATE and XLA_PYTHON_CLIENT_ALLOCATOR ask for."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from filling import PIECES, run


class Client:
    errors = (jax.errors.JaxRuntimeError,)

    def __init__(self) -> None:
        self.device = jax.devices("cuda")[0]
        self.product = jax.jit(lambda a: (a @ a).sum())
        for size in PIECES:  # what fills them is compiled while there is room for it
            self.take(size)

    def take(self, size: int) -> Any:
        return jnp.zeros(size, jnp.uint8, device=self.device).block_until_ready()

    def give_back(self) -> None:
        pass

    def check(self) -> bool:
        ones = jax.device_put(np.ones((1024, 1024), np.float32), self.device)
        return float(self.product(ones)) == 1024.0**3

    def total(self) -> None:
        return None  # its own limit is a part of the device's, which the driver tells


if __name__ == "__main__":
    run(Client, version=jax.__version__)
