"""Segmentation: a scan to a labelmap, the whole way on one page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from abdoseg.anatomy.organs import BY_NAME, host_of
from abdoseg.errors import ModelError
from abdoseg.image.components import Box
from abdoseg.image.lesions import Lesion, ProbabilityAt, measure_lesions
from abdoseg.image.organ_maps import OrganMaps
from abdoseg.image.resample import upsample_labels
from abdoseg.image.volume import Geometry, Labelmap, Volume
from abdoseg.image.volumetry import OrganVolume, measure
from abdoseg.inference.backend import precision_name
from abdoseg.inference.coarse_to_fine import coarse_to_fine
from abdoseg.inference.lesions import merge_crumbs, merge_lesions, probability_of, split_lesions, with_lesions
from abdoseg.inference.network_grid import network_grid, resample_to_network_grid
from abdoseg.inference.postprocess import Changes, body_middle, postprocess, split_channels
from abdoseg.inference.resources import largest_tile
from abdoseg.io.image_file import Remark
from abdoseg.model.plan import Plan, members
from abdoseg.model.weights import Model
from abdoseg.provenance import RunRecord, Stopwatch, describe_grid, describe_input, versions
from abdoseg.quality import Findings, Quality, assess, examine, implausible, odd_parts, sentences
from abdoseg.quality.laterality import mirrored_warning
from abdoseg.runtime.memory import peak_memory
from abdoseg.runtime.progress import Track, silent


@dataclass(frozen=True, eq=False)
class Segmentation:
    """One case's result."""

    labelmap: Labelmap
    rows: list[OrganVolume]
    record: RunRecord

    @property
    def lesions(self) -> dict[str, tuple[Lesion, ...]]:
        """Each kind of lesion that was looked for: those found, the largest first."""
        return dict(self.record.lesions)

    @property
    def quality(self) -> dict[str, Quality]:
        """Each organ's quality."""
        return dict(self.record.quality)

    @property
    def warnings(self) -> list[str]:
        """What a person should know: doubts, and organs that the scan cuts."""
        return list(self.record.warnings)


def segment(
    volume: Volume,
    model: Model,
    *,
    organs: Sequence[str] | None = None,
    max_memory: int | None = None,
    track: Track = silent,
) -> Segmentation:
    """Labels the scan's organs on the scan's own grid.

    Args:
        organs: names, from those that the model knows; its delivered ones if not named.
        max_memory: bytes that the process may take; smaller tiles are used, or ResourceError raised before any work.

    Raises:
        ModelError: the model does not know an organ.
        ResourceError: `max_memory` is too little for the scan.
    """
    plan, names = model.plan, known_organs(model.plan, organs)
    computed = with_lesions(names, known_organs(plan, plan.organs))  # an organ is judged together with its lesions
    tile_voxels = tile_for(volume.geometry, model, max_memory)
    watch = Stopwatch()
    with watch("resample"):
        image, grid = resample_to_network_grid(volume, plan)
    with watch("network"):
        maps = coarse_to_fine(model, image, grid, _channels(plan, computed), tile_voxels, track)
    with watch("postprocess"):
        maps, findings = correct(maps, image, plan, computed, names)
    with watch("labels"):
        labelmap, boxes = to_labelmap(maps, volume, names)
        merge_crumbs(labelmap, boxes)
    with watch("measure"):
        rows = measure(labelmap, volume.voxels, boxes)
        lesions = {
            name: measure_lesions(labelmap, volume.voxels, name, _probability(maps, name), boxes)
            for name in names
            if BY_NAME[name].is_lesion
        }
    with watch("quality"):
        quality = assess(rows, findings)
        sides_known = {"liver", "spleen"} <= set(names)
        mirrored = mirrored_warning(model, image, grid, findings.evidence, tile_voxels) if sides_known else None
    doubts = (*(note for note in volume.notes if not isinstance(note, Remark)), *filter(None, [mirrored]))
    record = RunRecord(
        versions=versions(),
        model={"digest": model.digest, "organs": list(names)},
        device=str(model.device),
        precision=precision_name(model),
        threads=torch.get_num_threads(),
        seconds=watch.seconds,
        peak_memory_bytes=peak_memory(),
        input=describe_input(volume),
        grid=describe_grid(grid),
        changes=tuple(line for organ in names for line in findings.corrections[organ].sentences(organ)),
        removed=findings.removed,
        quality=quality,
        lesions=lesions,
        warnings=(*doubts, *sentences(rows, quality, findings.removed)),
        scan_warnings=doubts,
    )
    return Segmentation(labelmap, rows, record)


def correct(
    maps: OrganMaps, image: npt.NDArray[np.float32], plan: Plan, computed: Sequence[str], wanted: Sequence[str]
) -> tuple[OrganMaps, Findings]:
    """The organs corrected by anatomy, without those that cannot be what they are called; and what was found out.

    The margins are changed where they lie.

    Args:
        maps: the network's channels.
        image: (I, J, K) HU on the maps' grid.
        computed: organs that the channels show, each organ with its lesions.
        wanted: those of them that are returned where they stay.
    """
    grid = maps.grid
    middle = body_middle(image > plan.window_hu[0])
    maps = split_channels(maps, computed, (grid.shape[0] - 1) / 2 if middle is None else middle)
    maps, lesions_apart = merge_lesions(maps)
    maps, changes = postprocess(maps, image, middle)
    odd = odd_parts(maps, image)
    maps = split_lesions(maps, lesions_apart, wanted)
    changes |= {lesion: Changes(outside_ml=ml) for lesion, ml in lesions_apart.outside_ml.items()}
    evidence = examine(maps, image)
    removed = implausible(evidence, image, grid.voxel_ml, plan.presence_threshold)
    kept = [organ for organ in evidence if organ in wanted and not {organ, host_of(organ)} & set(removed)]
    return maps.select(kept), Findings({organ: evidence[organ] for organ in kept}, changes, removed, grid, middle, odd)


def to_labelmap(maps: OrganMaps, onto: Volume, organs: Sequence[str]) -> tuple[Labelmap, dict[int, Box]]:
    """The maps as labels on the scan's own grid, and the box of each label that was looked at.

    No array of organs x native voxels is ever made. organs: that were looked for, found or not.
    """
    labels = onto.stored.to_canonical(np.empty(onto.stored.geometry.shape, np.uint8, order="F"))
    margins = {BY_NAME[organ].label: maps.margin(organ) for organ in maps.organs}
    boxes = {BY_NAME[organ].label: maps.box(organ) for organ in maps.organs}
    drawn = upsample_labels(margins, maps.grid, onto.geometry, labels, boxes)
    return Labelmap(labels, onto.geometry, onto.stored, {BY_NAME[organ].label: organ for organ in organs}), drawn


def tile_for(geometry: Geometry, model: Model, max_memory: int | None) -> int:
    """How many voxels a tile may have for a scan. Raises ResourceError when even the smallest does not fit."""
    grid, models = network_grid(geometry, model.plan), len(model.parts)
    return largest_tile(geometry, grid, model.plan.patch, max_memory, precision_name(model), models)


def known_organs(plan: Plan, organs: Sequence[str] | None) -> tuple[str, ...]:
    """The organs to deliver, in the order of their labels. Raises ModelError for those that the model does not know."""
    known = {organ for channel in plan.organs for organ in members(channel)}
    wanted = {organ for channel in (plan.output_organs if organs is None else organs) for organ in members(channel)}
    if not wanted <= known:
        raise ModelError(
            f"the model does not know {', '.join(sorted(wanted - known))}; it knows {', '.join(sorted(known))}"
        )
    return tuple(sorted(wanted, key=lambda organ: BY_NAME[organ].label))


def _probability(maps: OrganMaps, organ: str) -> ProbabilityAt | None:
    return probability_of(maps, organ) if organ in maps.organs else None


def _channels(plan: Plan, organs: Sequence[str]) -> tuple[str, ...]:
    """The network's channels that show the organs: each its own, or that of both sides together."""
    shown = {organ: channel for channel in reversed(plan.organs) for organ in members(channel)}
    return tuple(dict.fromkeys(shown[organ] for organ in organs))
