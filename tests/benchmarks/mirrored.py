"""Which scans seem mirrored, as they are and with voxels mirrored: `python tests/benchmarks/mirrored.py SCAN...`.

For each the spleen's volume over the liver's, and whether `segment` says that left and right seem to be exchanged.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from abdoseg.io import case_name, read_scan
from abdoseg.model.weights import load_model
from abdoseg.segmentation import segment


def main(paths: list[str]) -> None:
    """A row a scan, and how many of each kind are said to be mirrored."""
    model, counts = load_model(None, "cpu"), [0, 0]
    print(f"{'scan':<28} {'spleen/liver':>12} {'found':>5} {'mirrored':>12} {'found':>5}")
    for path in paths:
        volume, row = read_scan(path), []
        for n, voxels in enumerate((volume.voxels, volume.voxels[::-1])):
            found = segment(replace(volume, voxels=voxels), model)
            ml = {one.organ: one.volume_ml for one in found.rows}
            exchanged = any("exchanged" in warning for warning in found.warnings)
            counts[n] += exchanged
            row.append(f"{ml['spleen'] / max(ml['liver'], 1.0):>12.2f} {'yes' if exchanged else 'no':>5}")
        print(f"{case_name(path):<28} {' '.join(row)}", flush=True)
    print(f"found mirrored: {counts[0]} as they are, {counts[1]} mirrored, of {len(paths)}")


if __name__ == "__main__":
    main(sys.argv[1:])
