"""Programs people know, on a GPU with torch: what a quota with room to spare costs them."""

from __future__ import annotations

import importlib.util

from gshare.benchmarks.suite.arms import Arm
from gshare.benchmarks.suite.ground import GIB, Ground
from gshare.benchmarks.suite.metrics import HIGHER, Found, Metric, Trial
from gshare.benchmarks.suite.rivals import Ask

QUOTA = 24 * GIB
MODELS = {
    "resnet50": "ResNet-50, inference of 50 pictures of 346 x 346",
    "resnet152": "ResNet-152, inference of 10 pictures of 256 x 256",
    "vgg16": "VGG-16, inference of 20 pictures of 224 x 224",
    "deeplab": "DeepLab, inference of 2 pictures of 512 x 512",
    "lstm": "LSTM, inference of 100 sequences of 1024 x 300",
    "resnet50_train": "ResNet-50, training on 20 pictures",
    "decode": "a transformer's decode loop",
    "decode_graph": "the same as a CUDA graph",
    "matmul": "products of 4096 x 4096 matrices",
}


def _unfit(ground: Ground) -> str:
    if ground.simulated:
        return "needs a GPU: torch does not run on the simulated one"
    for module in "torch", "torchvision":
        if not importlib.util.find_spec(module):
            return f"needs {module}"
    return ""


def _trial(name: str, what: str) -> Trial:
    rate = Metric(f"models.{name}", what, "per second", HIGHER)

    def run(ground: Ground, arm: Arm, block: int) -> Found:
        said = ground.ask(arm, Ask(memory_bytes=QUOTA), "model", name, "3" if ground.quick else "8")
        return Found({rate.id: said["per_second"]}, said)

    return Trial(name, "models", (rate,), run, unfit=_unfit, seconds=15)


TRIALS = [_trial(name, what) for name, what in MODELS.items()]
