"""Segments of DICOM outputs: the organs that lie on the series, and lesions together or each by itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from abdoseg.anatomy.organs import BY_NAME, LESION, Code, Organ, title_of
from abdoseg.errors import OutputError
from abdoseg.exporters.dicom_reference import SourceSlice, digest_uid, labels_digest, labels_on, source_slices
from abdoseg.exporters.job import Job
from abdoseg.image.lesions import number_lesions
from abdoseg.image.volume import Labelmap
from abdoseg.image.volumetry import boxes
from abdoseg.rendering.slices import colour_of

# Source: DICOM PS3.16, CID 7150 Segmentation Property Categories.
ANATOMICAL = Code("123037004", "Anatomical Structure")
ABNORMAL = Code("49755003", "Morphologically Abnormal Structure")
FIRST_LESION = 101  # label of lesion 1 where lesions are apart: above those of organs
MOST_LESIONS = 255 - FIRST_LESION + 1


@dataclass(frozen=True)
class Segment:
    """One segment or structure. name: such as kidney_right or liver_tumour_2. lesion: its number, 0 if it is none."""

    label: int
    name: str
    organ: Organ
    lesion: int = 0

    @property
    def title(self) -> str:
        """Its name for people."""
        return title_of(self.name)

    @property
    def colour(self) -> tuple[int, int, int]:
        """sRGB, 0 to 255."""
        return colour_of(self.organ.name, self.organ.label)

    @property
    def category(self) -> Code:
        """Anatomical structure, or an abnormal one."""
        return ABNORMAL if self.organ.is_lesion else ANATOMICAL


@dataclass(frozen=True, eq=False)
class SegmentedSeries:
    """A DICOM series with labels on its slices. labels: (slices, rows, columns). segments: those that are there."""

    slices: list[SourceSlice]
    labels: npt.NDArray[np.uint8]
    segments: list[Segment]

    @property
    def facts(self) -> tuple[str, str]:
        """What UIDs are made of: the series and its labels."""
        return str(self.slices[0].header.SeriesInstanceUID), labels_digest(self.labels)

    def tracking_uid(self, name: str) -> str:
        """The UID of a segment's measurements, the same in every object that is made of these labels."""
        return digest_uid("tracking", *self.facts, name)


def segmented_series(job: Job) -> SegmentedSeries:
    """The job's labels on its series; each lesion by itself where its options say so.

    Raises:
        UsageError: no series is known.
        GeometryError: the series lies apart from the labelmap.
        OutputError: there are more lesions than labels.
    """
    labelmap, segments = job.labelmap, [Segment(row.label, row.organ, BY_NAME[row.organ]) for row in job.rows]
    if job.options.lesions_apart and LESION in labelmap.organs.values():
        labelmap, segments = _with_lesions_apart(labelmap, segments)
    slices = source_slices(job.series(), job.options.series, job.options.gaps)
    labels = labels_on(labelmap, slices)
    return SegmentedSeries(slices, labels, [one for one in segments if (labels == one.label).any()])


def _with_lesions_apart(labelmap: Labelmap, segments: list[Segment]) -> tuple[Labelmap, list[Segment]]:
    """The labelmap with a label a lesion, numbered as `measure_lesions` numbers them, and the segments to it."""
    label = next(label for label, organ in labelmap.organs.items() if organ == LESION)
    kept = [one for one in segments if one.label != label]
    box = boxes(labelmap.labels).get(label)
    if box is None:
        return labelmap, kept
    numbers = number_lesions(np.asarray(labelmap.labels[box] == label))
    count = int(numbers.max())
    if count > MOST_LESIONS:
        raise OutputError(
            f"{count} lesions, and {MOST_LESIONS} are the most that can be apart; leave --lesions-apart out"
        )
    labels = labelmap.labels.copy()
    labels[box][numbers > 0] = FIRST_LESION - 1 + numbers[numbers > 0]
    names = {FIRST_LESION - 1 + number: f"{LESION}_{number}" for number in range(1, count + 1)}
    organs = {number: name for number, name in labelmap.organs.items() if number != label} | names
    lesions = [Segment(FIRST_LESION - 1 + n, f"{LESION}_{n}", BY_NAME[LESION], n) for n in range(1, count + 1)]
    return replace(labelmap, labels=labels, organs=organs), [*kept, *lesions]


def concept_of(code: Code) -> Any:
    """A SNOMED CT code as highdicom has it."""
    from highdicom.sr import CodedConcept

    return CodedConcept(code.value, "SCT", code.meaning)
