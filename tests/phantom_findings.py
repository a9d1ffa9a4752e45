"""Four organs' rows and findings, for tests of what is said of them."""

from dataclasses import replace

import numpy as np

from abdoseg.image.volume import Geometry
from abdoseg.image.volumetry import OrganVolume
from abdoseg.inference.postprocess import Changes
from abdoseg.quality import Evidence, Findings

GRID = Geometry((41, 20, 20), np.diag([10.0, 10.0, 10.0, 1.0]))
MIDDLE = 20.0
PLACES = {
    "liver": [(270, 170, 170), (262, 70, 70)],
    "kidney_right": [(262, 60, 60)],
    "kidney_left": [(130, 60, 60)],
    "spleen": [(125, 60, 65)],
}
VOLUMES = {"liver": 1500.0, "kidney_right": 150.0, "kidney_left": 160.0, "spleen": 200.0}


def case(middle=MIDDLE, removed=None, places=None, odd_parts=None, **rows):
    """Four healthy organs' rows and findings, some of the fields replaced; None takes an organ away."""
    evidence, corrections, listed = {}, {}, []
    for label, (organ, volume_ml) in enumerate(VOLUMES.items(), start=1):
        changed = rows.get(organ, {})
        changed = {"volume_ml": 0.0} if changed is None else dict(changed)
        confidence, dropped = changed.pop("confidence", 0.95), changed.pop("dropped_ml", 0.0)
        largest, fluid = changed.pop("largest_ml", 0.0), changed.pop("fluid_ml", 0.0)
        unclaimed = changed.pop("unclaimed_ml", 0.0)
        row = replace(OrganVolume(organ, label, 1000, volume_ml, 100.0, 20.0, ()), **changed)
        row = row if row.volume_ml else replace(row, voxels=0, mean_hu=None)
        listed.append(row)
        corrections[organ] = Changes(int(dropped > 0), dropped_ml=dropped, largest_ml=largest, fluid_ml=fluid)
        if row.voxels:
            points = np.array((places or {}).get(organ, PLACES[organ]), float)
            outer = np.ones(len(points), bool)
            evidence[organ] = Evidence(row.volume_ml, confidence, 0.2, 100.0, False, points, outer, unclaimed)
    return listed, Findings(evidence, corrections, removed or {}, GRID, middle, odd_parts or {})
