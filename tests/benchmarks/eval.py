"""Our scores of one pair beside MONAI's and surface-distance's, in one run: seconds, peak memory, the same numbers.

    python tests/benchmarks/eval.py            # a 512 x 512 x 300 phantom with four organs
    python tests/benchmarks/eval.py --slices 100

Each system scores the same two arrays in a process of its own, so that its memory is its own. Ours computes every
column of scores.csv; MONAI (pip install --no-deps monai) HD95 and NSD; surface-distance (pip install --no-deps
surface-distance) Hausdorff, HD95, average distance and NSD. Their figures are checked against ours of the same
convention of surfaces.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np

SPACING = (0.78, 0.78, 1.0)
ORGANS = {
    "liver": ((180, 250, 0.57), (120, 105, 0.25)),
    "kidney_right": ((180, 330, 0.37), (35, 35, 0.17)),
    "kidney_left": ((340, 330, 0.37), (35, 35, 0.17)),
    "spleen": ((380, 280, 0.6), (60, 55, 0.18)),
}


def phantom(slices: int, moved: float) -> np.ndarray:
    """(512, 512, slices) uint8: four ellipsoids with wavy surfaces, shifted by `moved` voxels."""
    labels = np.zeros((512, 512, slices), np.uint8, order="F")
    for label, (centre, radii) in enumerate(ORGANS.values(), start=1):
        middle = (centre[0] + moved, centre[1] - moved / 2, centre[2] * slices + moved)
        reach = (radii[0], radii[1], radii[2] * slices)
        box = tuple(slice(max(0, int(m - 1.1 * r)), int(m + 1.1 * r) + 1) for m, r in zip(middle, reach, strict=True))
        x, y, z = (axis.astype(np.float32) for axis in np.ogrid[box])
        waves = 0.08 * np.sin((x + moved) / 9) * np.cos(y / 11) * np.sin(z / 7 + moved)
        inside = sum(((a - m) / r) ** 2 for a, m, r in zip((x, y, z), middle, reach, strict=True)) + waves < 1
        part = labels[box]
        part[inside[tuple(slice(n) for n in part.shape)]] = label
    return labels


def ours(truth: np.ndarray, prediction: np.ndarray, surface: str) -> dict:
    from concurrent.futures import ThreadPoolExecutor

    from abdoseg.evaluation.metric_table import METRICS
    from abdoseg.evaluation.score import EvaluationOptions
    from abdoseg.evaluation.score_case import score_case
    from abdoseg.image.volume import Geometry, Labelmap, Stored

    geometry = Geometry(truth.shape, np.diag([*SPACING, 1.0]))
    names = dict(enumerate(ORGANS, start=1))
    pair = [Labelmap(labels, geometry, Stored(geometry), names) for labels in (truth, prediction)]
    with ThreadPoolExecutor(2) as pool:
        scored = score_case("phantom", *pair, EvaluationOptions(surface=surface), pool)
    rows = {score.organ: {name: metric.value(score) for name, metric in METRICS.items()} for score in scored.scores}
    return {organ: (row["hd95_mm"], row["nsd"]) for organ, row in rows.items()}


def monai(truth: np.ndarray, prediction: np.ndarray) -> dict:
    import torch
    from monai.metrics import compute_hausdorff_distance, compute_surface_dice

    one_hot = [
        torch.from_numpy(np.stack([labels == n for n in range(len(ORGANS) + 1)])[None])
        for labels in (truth, prediction)
    ]
    tolerances = [5.0, 3.0, 3.0, 3.0]
    hd95 = compute_hausdorff_distance(one_hot[1], one_hot[0], percentile=95, spacing=SPACING)[0]
    nsd = compute_surface_dice(one_hot[1], one_hot[0], tolerances, spacing=SPACING)[0]
    return {organ: (float(hd95[n]), float(nsd[n])) for n, organ in enumerate(ORGANS)}


def surface_distance(truth: np.ndarray, prediction: np.ndarray) -> dict:
    # The package was written for older numpy and scipy: three names of theirs have moved since.
    from types import SimpleNamespace

    from scipy import ndimage

    np.Inf = np.inf  # noqa: NPY201
    if not hasattr(ndimage, "filters"):
        ndimage.filters = SimpleNamespace(correlate=ndimage.correlate)
        ndimage.morphology = SimpleNamespace(distance_transform_edt=ndimage.distance_transform_edt)
    from surface_distance import metrics

    found = {}
    for label, organ in enumerate(ORGANS, start=1):
        distances = metrics.compute_surface_distances(truth == label, prediction == label, SPACING)
        metrics.compute_robust_hausdorff(distances, 100)
        metrics.compute_average_surface_distance(distances)
        hd95 = metrics.compute_robust_hausdorff(distances, 95)
        nsd = metrics.compute_surface_dice_at_tolerance(distances, 5.0 if organ == "liver" else 3.0)
        found[organ] = (float(hd95), float(nsd))
    return found


SYSTEMS = {
    "abdoseg, border voxels": lambda a, b: ours(a, b, "border"),
    "abdoseg, surface elements": lambda a, b: ours(a, b, "elements"),
    "MONAI, HD95 and NSD only": monai,
    "surface-distance": surface_distance,
}


def measure(system: str, slices: int) -> dict:
    """One system in this process: what it found, its seconds, and its peak memory with the two arrays in it."""
    truth, prediction = phantom(slices, 0), phantom(slices, 3)
    small = tuple(np.ascontiguousarray(labels[::16, ::16, ::16]) for labels in (truth, prediction))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    SYSTEMS[system](*small)  # imports and tables are not what is measured
    start = time.perf_counter()
    found = SYSTEMS[system](truth, prediction)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"found": found, "seconds": seconds, "peak_gb": peak / 2**20, "phantom_gb": before / 2**20}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--only", choices=list(SYSTEMS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(measure(arguments.only, arguments.slices)))
        return
    results = {}
    print(f"512 x 512 x {arguments.slices}, {len(ORGANS)} organs")
    for system in SYSTEMS:
        command = [sys.executable, __file__, "--slices", str(arguments.slices), "--only", system]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode:
            print(f"{system:28} not measured: {run.stderr.strip().splitlines()[-1]}")
            continue
        results[system] = json.loads(run.stdout.splitlines()[-1])
        print(
            f"{system:28} {results[system]['seconds']:6.2f} s   peak {results[system]['peak_gb']:5.2f} GB", flush=True
        )
    pairs = (("abdoseg, border voxels", "MONAI, HD95 and NSD only"), ("abdoseg, surface elements", "surface-distance"))
    for left, right in pairs:
        if right in results:
            a, b = (results[name]["found"] for name in (left, right))
            apart = max(abs(x - y) for organ in ORGANS for x, y in zip(a[organ], b[organ], strict=True))
            faster = results[right]["seconds"] / results[left]["seconds"]
            print(f"{left} against {right}: {faster:.1f} times faster, values at most {apart:.1e} apart")


if __name__ == "__main__":
    main()
