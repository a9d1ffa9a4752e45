"""Organ maps: for each organ a margin on the network's grid, positive where the organ is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from abdoseg.image.components import Box, Mask, positive, positive_box
from abdoseg.image.volume import Geometry

Margins = npt.NDArray[np.float16]


@dataclass(frozen=True, eq=False)
class OrganMaps:
    """Where each organ is, and how clearly.

    margins: (D, I, J, K) float16, in the order of `organs`: an organ's logit less the best other one's, background
    included. At most one organ is above 0 at a voxel, and at most one after linear interpolation too.
    boxes: for an organ a box that holds all of its positive margins, None when it has none; found when it is asked for
    if not given.
    """

    margins: Margins
    organs: tuple[str, ...]
    grid: Geometry
    boxes: Mapping[str, Box | None] = field(default_factory=dict)

    def margin(self, organ: str) -> Margins:
        """(I, J, K) view of one organ's margins. Raises ValueError for an organ that is not here."""
        margin: Margins = self.margins[self.organs.index(organ)]
        return margin

    def mask(self, organ: str) -> Mask:
        """(I, J, K) bool: where the organ is."""
        return positive(self.margin(organ))

    def box(self, organ: str) -> Box | None:
        """A box that holds all of the organ; None when it has no voxel."""
        return self.boxes[organ] if organ in self.boxes else positive_box(self.margin(organ))

    def select(self, organs: Sequence[str]) -> OrganMaps:
        """The maps of some of the organs, in that order: a view of the same margins where these stand side by side."""
        if tuple(organs) == self.organs:
            return self
        chosen = [self.organs.index(organ) for organ in organs]
        side_by_side = bool(chosen) and chosen == list(range(chosen[0], chosen[0] + len(chosen)))
        margins = self.margins[chosen[0] : chosen[-1] + 1] if side_by_side else self.margins[chosen]
        boxes = {organ: box for organ, box in self.boxes.items() if organ in organs}
        return replace(self, margins=margins, organs=tuple(organs), boxes=boxes)
