"""Times one patch through the network: fused, eager, and OpenVINO where it is installed.

python tests/benchmarks/network.py [threads]
"""

import importlib.util
import math
import sys
import time
from collections.abc import Callable, Iterator

import torch

from abdoseg.cli.process import tune_process
from abdoseg.inference.backend import fuse
from abdoseg.inference.sliding_window import lead
from abdoseg.model.weights import load_model

PATCH = (96, 96, 64)


def seconds(work: Callable[[], object], repeat: int = 7) -> float:
    """The best of some runs, after one that does not count."""
    work()
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def timed(dtype: torch.dtype, hint: str, threads: int) -> Iterator[tuple[str, float]]:
    """Each way to run the bundled network on one patch, in one precision."""
    model, image, last = load_model(device="cpu"), torch.randn(1, 1, *PATCH), torch.channels_last_3d
    network = model.network
    fused = fuse(network, dtype, PATCH, ranges=model.plan.activation_ranges)
    if fused is not None:
        yield f"fused, to fields, {hint}", seconds(lambda: fused(image, lambda logits: lead(logits, 4)))
    if dtype == torch.int8:
        return  # OpenVINO would want a model quantised on scans
    if importlib.util.find_spec("openvino"):
        import openvino

        traced = openvino.convert_model(network, example_input=image)
        settings = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": threads}
        compiled = openvino.Core().compile_model(traced, "CPU", settings)
        yield f"OpenVINO {hint}", seconds(lambda: compiled(image.numpy()))
    eager, cast = network.to(dtype).to(memory_format=last), image.to(dtype).to(memory_format=last)
    yield f"eager channels-last {hint}", seconds(lambda: eager(cast))


def main(threads: int) -> None:
    tune_process()  # as `abdoseg segment` does
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    torch.manual_seed(0)
    print(f"a patch of {' x '.join(map(str, PATCH))}, {threads} threads")
    for dtype, hint in ((torch.bfloat16, "bf16"), (torch.float32, "f32"), (torch.int8, "bytes")):
        for name, taken in timed(dtype, hint, threads):
            print(f"{name:<28} {taken:.4f} s  {taken / math.prod(PATCH) * 1e6:.4f} s a million voxels", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
