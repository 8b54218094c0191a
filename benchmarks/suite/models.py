"""The models of group `models`, with random weights: they run in a tenant, and need torch and torchvision."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

WARM_UP = 5


def prepared(name: str) -> Callable[[], None]:
    """One step of the model, to its end; it has had some."""
    import torch

    torch.cuda.empty_cache()  # of the model before
    torch.manual_seed(0)
    step = _steps()[name](torch)

    def whole() -> None:
        step()
        torch.cuda.synchronize()

    for _ in range(WARM_UP):
        whole()
    return whole


def times_ms(step: Callable[[], None], seconds: float) -> list[float]:
    """Of each step, over that time."""
    found, at = [], time.perf_counter()
    until = at + seconds
    while at < until:
        step()
        before, at = at, time.perf_counter()
        found.append(round((at - before) * 1e3, 3))
    return found


def _steps() -> dict[str, Callable[[Any], Callable[[], Any]]]:
    return {
        "resnet50": _pictures("resnet50", 50, 346),
        "resnet152": _pictures("resnet152", 10, 256),
        "vgg16": _pictures("vgg16", 20, 224),
        "deeplab": _pictures("segmentation.deeplabv3_resnet50", 2, 512),
        "lstm": _lstm,
        "resnet50_train": _training("resnet50", 20, 346),
        "resnet152_train": _training("resnet152", 10, 256),
        "vgg16_train": _training("vgg16", 2, 224),
        "deeplab_train": _training("segmentation.deeplabv3_resnet50", 2, 384),
        "lstm_train": _lstm_training,
        "decode": lambda torch: _decode(torch, graph=False),
        "decode_graph": lambda torch: _decode(torch, graph=True),
        "matmul": _matmul,
    }


def _model(name: str) -> Any:
    import torchvision

    found = torchvision.models
    for part in name.split("."):
        found = getattr(found, part)
    return found(weights=None, weights_backbone=None) if "deeplab" in name else found(weights=None)


def _pictures(name: str, batch: int, side: int) -> Callable[[Any], Callable[[], Any]]:
    def make(torch: Any) -> Callable[[], Any]:
        model = _model(name).cuda().eval()
        data = torch.randn(batch, 3, side, side, device="cuda")

        def step() -> Any:
            with torch.no_grad():
                return model(data)

        return step

    return make


def _lstm(torch: Any) -> Callable[[], Any]:
    model = torch.nn.LSTM(300, 1024, batch_first=True).cuda().eval()
    data = torch.randn(100, 1024, 300, device="cuda")

    def step() -> Any:
        with torch.no_grad():
            return model(data)

    return step


def _training(name: str, batch: int, side: int) -> Callable[[Any], Callable[[], Any]]:
    """On random pictures; what it learns is to say nothing."""

    def make(torch: Any) -> Callable[[], Any]:
        return _trained(torch, _model(name).cuda().train(), torch.randn(batch, 3, side, side, device="cuda"))

    return make


def _lstm_training(torch: Any) -> Callable[[], Any]:
    model = torch.nn.LSTM(300, 1024, batch_first=True).cuda().train()
    return _trained(torch, model, torch.randn(10, 1024, 300, device="cuda"))


def _trained(torch: Any, model: Any, data: Any) -> Callable[[], Any]:
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)

    def step() -> Any:
        optimizer.zero_grad(set_to_none=True)
        found = model(data)
        if isinstance(found, dict):
            found = found["out"]
        if isinstance(found, tuple):
            found = found[0]
        found.square().mean().backward()
        optimizer.step()

    return step


def _decode(torch: Any, graph: bool) -> Callable[[], Any]:
    """One token through eight layers, as a batch of one does it: many short kernels."""
    layer = torch.nn.TransformerEncoderLayer(2048, 16, 8192, batch_first=True)
    model = torch.nn.TransformerEncoder(layer, 8, enable_nested_tensor=False).cuda().half().eval()
    token = torch.randn(1, 1, 2048, device="cuda", dtype=torch.half)

    def step() -> Any:
        with torch.no_grad():
            return model(token)

    if not graph:
        return step
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            step()
    torch.cuda.current_stream().wait_stream(side)
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        step()
    replay: Callable[[], Any] = captured.replay
    return replay


def _matmul(torch: Any) -> Callable[[], Any]:
    a, b = (torch.randn(4096, 4096, device="cuda") for _ in range(2))
    return lambda: a @ b
