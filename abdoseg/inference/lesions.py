"""Lesions of an organ: those outside it or too small are dropped, and the organ is judged together with the others.

A network gives a lesion and the organ around it as two labels. Here the lesions are first made part of the organ, so
that its connected components, holes and plausibility are those of the whole, and afterwards taken out of it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from abdoseg.anatomy.organs import BY_NAME, ORGANS, host_of
from abdoseg.image.components import Box, Mask, grown, positive, united
from abdoseg.image.lesions import ProbabilityAt, lesion_boxes, number_lesions
from abdoseg.image.organ_maps import Margins, OrganMaps
from abdoseg.image.volume import Labelmap

MIN_ML = 0.1  # a ball 5.8 mm across; nobody can say what a smaller one on a CT is
# Of a piece's surface, what must border the organ. Set by looking at what the bundled weights find: tumours that bulge
# out of the liver have .21 and more, though only .12 of their voxels lie in its outline closed by 10 mm and grown by 3;
# a piece of unknown nature beside the liver has .15.
MIN_CONTACT = 0.1


@dataclass(frozen=True, eq=False)
class SetApart:
    """Lesions set apart from their organs, by name: margins (I, J, K), and ml of pieces that lay outside the organ."""

    margins: Mapping[str, Margins]
    outside_ml: Mapping[str, float]


def with_lesions(organs: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """The organs that the network must compute: those wanted, their lesions, and the organs of lesions, if known.

    A lesion is judged by the organ around it, and an organ is whole only with its lesions.

    >>> with_lesions(["liver", "spleen"], ["liver", "spleen", "liver_tumour"])
    ('liver', 'spleen', 'liver_tumour')
    """
    lesions = [
        organ.name for organ in ORGANS if organ.is_lesion and organ.name in known and host_of(organ.name) in known
    ]
    chosen = [lesion for lesion in lesions if lesion in organs or host_of(lesion) in organs]
    wanted = {*organs, *chosen, *map(host_of, chosen)}
    return tuple(sorted(wanted, key=lambda organ: BY_NAME[organ].label))


def merge_lesions(maps: OrganMaps) -> tuple[OrganMaps, SetApart]:
    """The maps with lesions as part of their organs, and the lesions set apart.

    Pieces that lie outside their organ are dropped; those that are too small belong to the organ. Maps without lesions
    are returned as they are. The margins are changed where they lie.
    """
    margins: dict[str, Margins] = {}
    outside_ml: dict[str, float] = {}
    for lesion in maps.organs:
        if BY_NAME[lesion].is_lesion and host_of(lesion) in maps.organs:
            margins[lesion], outside_ml[lesion] = _merge(maps, lesion)
    if not margins:
        return maps, SetApart({}, {})
    return maps.select([organ for organ in maps.organs if organ not in margins]), SetApart(margins, outside_ml)


def split_lesions(maps: OrganMaps, apart: SetApart, organs: Sequence[str]) -> OrganMaps:
    """The maps with the lesions among `organs` taken out of the organs that they lie in."""
    added: list[Margins] = []
    names: list[str] = []
    for lesion, margin in apart.margins.items():
        if lesion not in organs or host_of(lesion) not in maps.organs:
            continue
        host = maps.margin(host_of(lesion))
        kept = positive(margin) & positive(host)
        lesion_margin = np.where(kept, margin, np.minimum(margin, -np.abs(host)))
        host[kept] = -margin[kept]
        added.append(lesion_margin)
        names.append(lesion)
    if not added:
        return maps
    stacked = np.concatenate([maps.margins, np.stack(added)])
    return replace(maps, margins=stacked, organs=(*maps.organs, *names))


def merge_crumbs(labelmap: Labelmap, boxes: dict[int, Box]) -> None:
    """Makes pieces of a lesion below MIN_ML part of its organ, in place.

    On the scan's own grid a lesion of the network's may fall into a piece and crumbs.

    Args:
        labelmap: organs and lesions on the scan's grid.
        boxes: that hold each label; an organ's grows with what it gains.
    """
    numbers = {name: label for label, name in labelmap.organs.items()}
    for lesion, label in numbers.items():
        if not BY_NAME[lesion].is_lesion or label not in boxes:
            continue
        host = BY_NAME[host_of(lesion)].label
        labels = labelmap.labels[boxes[label]]
        pieces = number_lesions(np.asarray(labels == label))
        large = np.bincount(pieces.ravel()) * labelmap.geometry.voxel_ml >= MIN_ML
        large[0] = True
        if large.all():
            continue
        labels[~large[pieces]] = host if host in labelmap.organs else 0
        if host in labelmap.organs:
            boxes[host] = united([boxes[number] for number in (label, host) if number in boxes])


def probability_of(maps: OrganMaps, organ: str) -> ProbabilityAt:
    """The probability of an organ, against the likeliest other one, at points (N, 3) in RAS mm."""
    from scipy.ndimage import map_coordinates

    margin, to_grid = maps.margin(organ).astype(np.float32), np.linalg.inv(maps.grid.affine)

    def at(points_mm: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        indices = points_mm @ to_grid[:3, :3].T + to_grid[:3, 3]
        values = map_coordinates(margin, indices.T, order=1, mode="nearest")
        return np.asarray(1 / (1 + np.exp(-values)), dtype=np.float64)

    return at


def _merge(maps: OrganMaps, lesion: str) -> tuple[Margins, float]:
    """Makes the pieces of a lesion part of its organ where they border it.

    Returns a margin (I, J, K) that is positive in the large ones of them, and the ml of pieces outside the organ.
    """
    box = maps.box(lesion)
    if box is None:
        return maps.margin(lesion), 0.0
    region = grown(box, 1, maps.grid.shape)
    kept = maps.margin(lesion).copy()
    margin, host, apart = maps.margin(lesion)[region], maps.margin(host_of(lesion))[region], kept[region]
    numbers = number_lesions(positive(margin))
    inside = positive(host)
    outside_ml = 0.0
    for number, place in enumerate(lesion_boxes(numbers), start=1):
        around = grown(place, 1, numbers.shape)
        piece = np.asarray(numbers[around] == number)
        ml = np.count_nonzero(piece) * maps.grid.voxel_ml
        outside = contact(piece, inside[around]) < MIN_CONTACT
        if outside:
            outside_ml += ml
        else:
            host[around][piece] = margin[around][piece]
        if outside or ml < MIN_ML:
            apart[around][piece] = -margin[around][piece]
    return kept, outside_ml


def contact(piece: Mask, organ: Mask) -> float:
    """The fraction of a piece's faces that border an organ; of those within the array. 0 for a piece without faces."""
    faces = touching = 0
    for axis in range(3):
        a, b = np.moveaxis(piece, axis, 0)[:-1], np.moveaxis(piece, axis, 0)[1:]
        before, after = np.moveaxis(organ, axis, 0)[:-1], np.moveaxis(organ, axis, 0)[1:]
        faces += int(np.count_nonzero(a != b))
        touching += int(np.count_nonzero(a & ~b & after)) + int(np.count_nonzero(b & ~a & before))
    return touching / faces if faces else 0.0
