"""The plan: all that is needed to use weights rightly. It travels as JSON in the header of the weights file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from abdoseg.anatomy.organs import BY_NAME
from abdoseg.errors import ModelError
from abdoseg.image.volume import Geometry

FORMAT = "abdoseg-1"
# Channels that stand for several organs, which are told apart afterwards by the side on which they lie.
GROUPS = {"kidney": ("kidney_right", "kidney_left")}


@dataclass(frozen=True)
class Plan:
    """How weights want their input, and what their output means.

    spacing_mm: (I, J, K) grid that the network was trained on; None when the whole scan is resized to `patch` whatever
    its size. asked_mm: the grid that it does better on when it is asked; None when that is the same.
    certain: the mean probability from which an organ shows that there is an abdomen; None when nobody measured it.
    locating: how many times coarser a grid may be for the network to find the delivered organs' box; None likewise.
    patch: voxels that the network sees at a time. window_hu: HU are clipped to it and scaled onto `scaled_to`.
    organs: names of the output channels after background, organs or GROUPS. delivered: those written unless the user
    asks for others.
    network: a key of NETWORKS under "name", and the fields of its config.
    ranges: least and most of the feature maps that may be bytes, by the module that they come out of; None when nobody
    measured them.
    training: what is worth knowing about how the weights came to be; informs people, steers nothing.
    """

    spacing_mm: tuple[float, float, float] | None
    patch: tuple[int, int, int]
    organs: tuple[str, ...]
    delivered: tuple[str, ...]
    network: dict[str, Any]
    window_hu: tuple[float, float] = (-125.0, 275.0)
    scaled_to: tuple[float, float] = (-1.0, 1.0)
    training: dict[str, Any] = field(default_factory=dict)
    asked_mm: tuple[float, float, float] | None = None
    certain: float | None = None
    locating: int | None = None
    ranges: dict[str, tuple[float, float]] | None = None

    def __post_init__(self) -> None:
        for name in ("spacing_mm", "asked_mm", "patch", "organs", "delivered", "window_hu", "scaled_to"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else tuple(value))
        if self.ranges is not None:
            pairs = {name: (float(low), float(high)) for name, (low, high) in self.ranges.items()}
            object.__setattr__(self, "ranges", pairs)
        if not isinstance(self.network, dict):
            raise ModelError(f"the plan's network is no description but {self.network!r}")
        unknown = [name for name in self.organs if name not in BY_NAME and name not in GROUPS]
        if unknown:
            raise ModelError(f"the plan names organs that this version does not know: {', '.join(unknown)}")
        if not set(self.delivered) <= set(self.organs):
            raise ModelError(f"the plan delivers {self.delivered}, but the network gives only {self.organs}")
        if self.window_hu[0] >= self.window_hu[1]:
            raise ModelError(f"the plan's HU window {self.window_hu} is empty")

    @property
    def segmenting_mm(self) -> tuple[float, float, float] | None:
        """The spacing to segment on; None when the whole scan is resized."""
        return self.spacing_mm and (self.asked_mm or self.spacing_mm)

    def grid(self, geometry: Geometry) -> Geometry:
        """The grid to train on over a scan: of `spacing_mm`, or `patch` voxels over the whole of it."""
        if self.spacing_mm is not None:
            return geometry.resampled(self.spacing_mm)
        extent_mm = np.array(geometry.shape) * geometry.spacing_mm
        return geometry.resampled(extent_mm / np.array(self.patch))

    def to_json(self) -> str:
        """One line of JSON, keys sorted."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """The plan in `text`. Raises ModelError when it is none."""
        try:
            return cls(**json.loads(text))
        except (TypeError, ValueError, IndexError, AttributeError) as error:
            raise ModelError(f"the weights hold a plan that cannot be understood ({error})") from error


def members(name: str) -> tuple[str, ...]:
    """The organs that a channel stands for: itself, unless it is a group.

    >>> members("kidney"), members("liver")
    (('kidney_right', 'kidney_left'), ('liver',))
    """
    return GROUPS.get(name, (name,))
