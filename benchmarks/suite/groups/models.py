"""Programs people know, on a GPU with torch: alone under a quota with room to spare, and beside others."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import accumulate
from statistics import fmean
from typing import Any

from gshare.benchmarks import share_stats as stats
from gshare.benchmarks.suite.arms import COMPUTE, NATIVE, PRIORITY, Arm
from gshare.benchmarks.suite.ground import GIB, TIMEOUT_S, Ground
from gshare.benchmarks.suite.metrics import DIFFERENCE, HIGHER, Found, Metric, Probe, Trial
from gshare.benchmarks.suite.rivals import Ask, daemon
from gshare.benchmarks.suite.steady import MS, effort

QUOTA = 24 * GIB
ROOMY = Ask(memory_bytes=QUOTA)
MODELS = {
    "resnet50": "ResNet-50, inference of 50 pictures of 346 x 346",
    "resnet152": "ResNet-152, inference of 10 pictures of 256 x 256",
    "vgg16": "VGG-16, inference of 20 pictures of 224 x 224",
    "deeplab": "DeepLab, inference of 2 pictures of 512 x 512",
    "lstm": "LSTM, inference of 100 sequences of 1024 x 300",
    "resnet50_train": "ResNet-50, training on 20 pictures of 346 x 346",
    "resnet152_train": "ResNet-152, training on 10 pictures of 256 x 256",
    "vgg16_train": "VGG-16, training on 2 pictures of 224 x 224",
    "deeplab_train": "DeepLab, training on 2 pictures of 384 x 384",
    "lstm_train": "LSTM, training on 10 sequences of 1024 x 300",
    "decode": "a transformer's decode loop",
    "matmul": "products of 4096 x 4096 matrices",
    "decode_graph": "the decode loop as a CUDA graph",
}
KEPT = 400

Programs = Sequence[subprocess.Popen[str]]


def _unfit(ground: Ground) -> str:
    if ground.simulated:
        return "not applicable: torch does not run on the simulated GPU"
    for module in "torch", "torchvision":
        if not importlib.util.find_spec(module):
            return f"not applicable: {module} is not installed"
    return ""


@contextmanager
def _tenants(
    ground: Ground, arm: Arm, tenants: Sequence[tuple[Ask, Sequence[str]]], seconds: float = 0
) -> Iterator[Programs]:
    """A program for each, of these models one after another, for so long."""
    seconds = seconds or (2 if ground.quick else 3)
    with daemon(arm.rival, arm.library), ExitStack() as stack:
        programs = []
        for ask, names in tenants:
            programs.append(ground.start(arm, ask, ["model", str(seconds), *names], ground.folder()))
            stack.callback(programs[-1].communicate)
            stack.callback(programs[-1].kill)
        yield programs


def _next_ms(programs: Programs) -> list[list[float]]:
    """Milliseconds of the steps of each one's next model, all begun when all are ready."""
    for program in programs:
        _said(program)
    for program in programs:
        assert program.stdin is not None
        program.stdin.write("\n")
        program.stdin.flush()
    return [_said(program)["ms"] for program in programs]


def _said(program: subprocess.Popen[str]) -> dict[str, Any]:
    assert program.stdout is not None
    line = program.stdout.readline()
    if not line:
        raise RuntimeError(f"a model ended with {program.wait(TIMEOUT_S)}")
    said: dict[str, Any] = json.loads(line)
    if "error" in said:
        raise RuntimeError(said["error"])
    return said


# -------- alone --------

RATES = {name: Metric(f"models.{name}", what, "per second", HIGHER) for name, what in MODELS.items()}


def _alone(ground: Ground, arm: Arm, block: int) -> Found:
    """One that fails has no number, and says why."""
    found: dict[str, list[float]] = {}
    why: dict[str, str] = {}
    with _tenants(ground, arm, [(ROOMY, list(MODELS))]) as programs:
        for name in MODELS:
            try:
                (found[name],) = _next_ms(programs)
            except (RuntimeError, OSError) as error:
                why[name] = str(error)
    if not found:
        raise RuntimeError(next(iter(why.values())))
    values = {RATES[name].id: 1e3 / fmean(ms) for name, ms in found.items()}
    return Found(values, {"ms": {name: ms[:KEPT] for name, ms in found.items()}, "failed": why})


# -------- beside others --------

SERVED, TRAINED = "decode", "resnet50_train"
CAPS = (30.0, 70.0)
PRODUCT = Probe(MS, CAPS[0])
"""About as long as a product takes."""
OFF = Metric(
    "models.matmul_30_70",
    "products at 30 % and at 70 %, of what both do: off that",
    "points",
    compared=DIFFERENCE,
    must=10,
)
P99 = Metric(
    "models.beside", "two decode loops beside a training: p99 of their steps to one's alone", "times"
)
KEPT_UP = Metric("models.beside_left", "steps of that training, to alone", "%", HIGHER)


def _products(ground: Ground, arm: Arm, block: int) -> Found:
    how = effort(ground, arm, PRODUCT, len(CAPS))
    tenants = [(Ask(QUOTA, percent=cap), ["matmul"]) for cap in CAPS]
    with _tenants(ground, arm, tenants, how.settle_s + how.seconds) as programs:
        ends_s = [[at / 1e3 for at in accumulate(ms)] for ms in _next_ms(programs)]
    done = [sum(at > how.settle_s for at in ends) for ends in ends_s]
    off = max(abs(100 * n / sum(done) - cap) for n, cap in zip(done, CAPS, strict=True))
    return Found({OFF.id: off}, {"steps": done})


def _beside(ground: Ground, arm: Arm, block: int) -> Found:
    offers = PRIORITY in arm.offers
    high = Ask(QUOTA, priority="high") if offers else ROOMY
    low = Ask(QUOTA, priority="low") if offers else ROOMY
    with _tenants(ground, NATIVE, [(ROOMY, [SERVED, TRAINED])]) as programs:
        (alone,), (trained_alone,) = _next_ms(programs), _next_ms(programs)
    with _tenants(ground, arm, [(high, [SERVED]), (high, [SERVED]), (low, [TRAINED])]) as programs:
        *served, trained = _next_ms(programs)
    worst = max(stats.percentile(ms, 99) for ms in served)
    values = {
        P99.id: worst / stats.percentile(alone, 99),
        KEPT_UP.id: 100 * len(trained) / len(trained_alone),
    }
    return Found(values, {"alone_ms": alone[:KEPT], "ms": [ms[:KEPT] for ms in served]})


TRIALS = [
    Trial("alone", "models", tuple(RATES.values()), _alone, unfit=_unfit, seconds=60),
    Trial(
        "matmul_30_70",
        "models",
        (OFF,),
        _products,
        frozenset({COMPUTE}),
        several=True,
        probe=PRODUCT,
        unfit=_unfit,
        seconds=20,
    ),
    Trial(
        "beside",
        "models",
        (P99, KEPT_UP),
        _beside,
        several=True,
        uses=frozenset({PRIORITY}),
        unfit=_unfit,
        seconds=50,
    ),
]
