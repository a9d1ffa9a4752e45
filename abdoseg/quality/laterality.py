"""Laterality: whether a scan is mirrored, by the network's liver in its mirror image where the spleen is large."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from abdoseg.image.volume import Geometry
from abdoseg.inference.coarse_to_fine import coarse_to_fine
from abdoseg.model.weights import Model
from abdoseg.quality.evidence import Evidence, examine

# Of the liver's volume. In 24 scans as they are the spleen has at most .34 of it, but 1.40 in one that is diseased;
# mirrored .33 to 5.2, since the network takes half of the liver, on the spleen's side, for spleen.
LARGE = 0.3
# By how much the liver's mean probability must be higher in the mirror: in the same 24, mirrored, it is by .018 and
# more, and in the diseased one as it is, it is lower by .025. See tests/benchmarks/mirrored.py.
SURER = 0.01
SENTENCE = (
    "left and right seem to be exchanged: mirrored, the liver is clearer (confidence {:.2f}, as it is {:.2f}); "
    "are the file's axes right, or is it a situs inversus?"
)


def mirrored_warning(
    model: Model,
    image: npt.NDArray[np.float32],
    grid: Geometry,
    evidence: Mapping[str, Evidence],
    max_tile_voxels: int,
) -> str | None:
    """A sentence when the mirror image (I, J, K) shows a liver more clearly; None when not, or no reason to look."""
    liver, spleen = evidence.get("liver"), evidence.get("spleen")
    if spleen is None or spleen.volume_ml < LARGE * (liver.volume_ml if liver else 0.0):
        return None
    mirror = np.asfortranarray(image[::-1])
    found = examine(coarse_to_fine(model, mirror, grid, ("liver",), max_tile_voxels), mirror)
    here, there = (one["liver"].confidence if "liver" in one else 0.0 for one in (evidence, found))
    return SENTENCE.format(there, here) if there > here + SURER else None
