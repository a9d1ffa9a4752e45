"""The plan: all that is needed to use weights rightly. It travels as JSON in the header of the weights file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from abdoseg.anatomy.organs import BY_NAME
from abdoseg.errors import ModelError
from abdoseg.image.volume import Geometry

FORMAT = "abdoseg-2"
FORMER_FORMAT = "abdoseg-1"
# Keys of plans and recipes as format 1 had them.
FORMER_KEYS = {
    "asked_mm": "inference_spacing_mm",
    "certain": "presence_threshold",
    "delivered": "output_organs",
    "locating": "roi_downsampling",
    "painted": "synthetic",
    "ranges": "activation_ranges",
}
# Channels that stand for several organs, which are told apart afterwards by the side on which they lie.
GROUPS = {"kidney": ("kidney_right", "kidney_left")}


@dataclass(frozen=True)
class Plan:
    """Input that weights expect, and the meaning of their output.

    Attributes:
        spacing_mm: (I, J, K) voxel spacing of the training grid; None when whole scans are resized to `patch`.
        patch: voxels (I, J, K) that the network sees at a time.
        organs: names of the output channels after background, organs or GROUPS.
        output_organs: those of them that are written unless the user asks for others.
        network: a key of NETWORKS under "name", and the fields of its config.
        window_hu: HU are clipped to it and scaled onto `scaled_to`.
        training: how the weights came to be; informs people, steers nothing.
        inference_spacing_mm: voxel spacing to segment on, `spacing_mm` unless given; None when scans are resized.
        presence_threshold: mean probability from which an organ shows that the scan has an abdomen; None: not measured.
        roi_downsampling: how many times coarser the grid is on which the region of interest is found first; None: the
            whole body is the region.
        activation_ranges: lowest and highest value of the feature maps that quantization covers, by module; None: not
            measured, and the network is not quantized.

    Raises:
        ModelError: when the fields contradict one another.
    """

    spacing_mm: tuple[float, float, float] | None
    patch: tuple[int, int, int]
    organs: tuple[str, ...]
    output_organs: tuple[str, ...]
    network: dict[str, Any]
    window_hu: tuple[float, float] = (-125.0, 275.0)
    scaled_to: tuple[float, float] = (-1.0, 1.0)
    training: dict[str, Any] = field(default_factory=dict)
    inference_spacing_mm: tuple[float, float, float] | None = None
    presence_threshold: float | None = None
    roi_downsampling: int | None = None
    activation_ranges: dict[str, tuple[float, float]] | None = None

    def __post_init__(self) -> None:
        spacing_mm = self.spacing_mm and (self.inference_spacing_mm or self.spacing_mm)
        object.__setattr__(self, "inference_spacing_mm", spacing_mm)
        for name in (
            "spacing_mm",
            "inference_spacing_mm",
            "patch",
            "organs",
            "output_organs",
            "window_hu",
            "scaled_to",
        ):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else tuple(value))
        if self.activation_ranges is not None:
            pairs = {name: (float(low), float(high)) for name, (low, high) in self.activation_ranges.items()}
            object.__setattr__(self, "activation_ranges", pairs)
        if not isinstance(self.network, dict):
            raise ModelError(f"the plan's network is no description but {self.network!r}")
        unknown = [name for name in self.organs if name not in BY_NAME and name not in GROUPS]
        if unknown:
            raise ModelError(f"the plan names organs that this version does not know: {', '.join(unknown)}")
        if not set(self.output_organs) <= set(self.organs):
            raise ModelError(f"the plan outputs {self.output_organs}, but the network gives only {self.organs}")
        if self.window_hu[0] >= self.window_hu[1]:
            raise ModelError(f"the plan's HU window {self.window_hu} is empty")

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
        """The plan in `text`, of this format or the former. Raises ModelError when it is none."""
        try:
            return cls(**renamed(json.loads(text)))
        except (TypeError, ValueError, IndexError, AttributeError) as error:
            raise ModelError(f"the weights hold a plan that cannot be understood ({error})") from error


def renamed(values: dict[str, Any]) -> dict[str, Any]:
    """The fields of a plan or recipe under the names of today. Raises ValueError for one under both its names.

    >>> renamed({"painted": 0.1, "batch": 2})
    {'synthetic': 0.1, 'batch': 2}
    """
    twice = [f"{old} and {new}" for old, new in FORMER_KEYS.items() if old in values and new in values]
    if twice:
        raise ValueError(f"one field under two names: {', '.join(twice)}")
    return {FORMER_KEYS.get(name, name): value for name, value in values.items()}


def members(name: str) -> tuple[str, ...]:
    """The organs that a channel stands for: itself, unless it is a group.

    >>> members("kidney"), members("liver")
    (('kidney_right', 'kidney_left'), ('liver',))
    """
    return GROUPS.get(name, (name,))
