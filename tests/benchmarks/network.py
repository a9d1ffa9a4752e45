"""Times one tile through the network: quantized, fused, as PyTorch has it, and by OpenVINO where that is installed.

python tests/benchmarks/network.py [--threads 1] [--rounds 9] [--model FILE] [--size 96 96 64]

All ways take turns, so that another program's load falls on each of them alike; medians of the calling thread's
processor time with one thread, of the clock with more. ONEDNN_MAX_CPU_ISA=AVX2 shows a processor without AVX512.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import statistics
import time
from collections.abc import Callable
from copy import deepcopy

import torch

from abdoseg.cli.process import tune_process
from abdoseg.inference.backend import fuse
from abdoseg.inference.sliding_window import margins_of
from abdoseg.model.device import to_device
from abdoseg.model.weights import Model, load_model

PRECISIONS = {"int8": torch.int8, "bfloat16": torch.bfloat16, "float32": torch.float32}
ORGANS = 4


def ways(model: Model, image: torch.Tensor, threads: int) -> dict[str, Callable[[], object]]:
    """Each way to run the model on an image (1, 1, I, J, K), by its name."""
    found: dict[str, Callable[[], object]] = {}
    for name, dtype in PRECISIONS.items():
        fused = fuse(model.network, dtype, image.shape[2:], ranges=model.plan.activation_ranges)
        if getattr(fused, "dtype", dtype) == dtype and fused is not None:
            found[f"abdoseg {name}"] = lambda fused=fused: fused(image, lambda logits: margins_of(logits, ORGANS))
    network = to_device(deepcopy(model.network), model.device)

    def eager(dtype: torch.dtype) -> torch.Tensor:
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            logits = network(image.contiguous(memory_format=torch.channels_last_3d))[0]
        return margins_of(logits, ORGANS).to(torch.float16)

    found["PyTorch float32"] = lambda: eager(torch.float32)
    if getattr(torch.cpu, "_is_avx512_bf16_supported", bool)():
        found["PyTorch bfloat16"] = lambda: eager(torch.bfloat16)
    if importlib.util.find_spec("openvino"):
        import openvino

        traced = openvino.convert_model(model.network, example_input=image)
        for name, hint in (("bfloat16", "bf16"), ("float32", "f32")):
            settings = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": threads}
            compiled = openvino.Core().compile_model(traced, "CPU", settings)
            found[f"OpenVINO {name}"] = lambda compiled=compiled: compiled(image.numpy())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--size", type=int, nargs=3, default=(96, 96, 64))
    parser.add_argument("--model", help="weights file; the bundled one when not named")
    chosen = parser.parse_args()
    tune_process()
    torch.set_num_threads(chosen.threads)
    torch.set_grad_enabled(False)
    torch.manual_seed(0)
    clock = time.thread_time if chosen.threads == 1 else time.perf_counter
    found = ways(load_model(chosen.model, "cpu"), torch.randn(1, 1, *chosen.size), chosen.threads)
    times: dict[str, list[float]] = {name: [] for name in found}
    for n in range(chosen.rounds + 1):
        for name, run in found.items():
            start = clock()
            run()
            if n:  # the first makes what the others keep
                times[name].append(clock() - start)
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    base = medians["abdoseg float32"]
    print(f"a tile of {' x '.join(map(str, chosen.size))}, threads {chosen.threads}")
    for name, median in medians.items():
        of_million = median / math.prod(chosen.size) * 1e6
        print(f"{name:<18} {median:.4f} s, {of_million:.4f} s a million voxels, {median / base:.2f} of float32")


if __name__ == "__main__":
    main()
