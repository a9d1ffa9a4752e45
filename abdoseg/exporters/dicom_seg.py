"""DICOM SEG (segmentation) on the slices of the series that was segmented, through highdicom."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from abdoseg import __version__
from abdoseg.anatomy.organs import BY_NAME, host_of
from abdoseg.errors import OutputError
from abdoseg.exporters.dicom_reference import SourceSlice, date_and_time, digest_uid
from abdoseg.exporters.dicom_segments import Segment, SegmentedSeries, concept_of, segmented_series
from abdoseg.exporters.job import Job

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

ARTIFICIAL_INTELLIGENCE = ("123109", "DCM", "Artificial Intelligence")  # PS3.16, CID 7162
SERIES_NUMBER = 700
# A bit a voxel is small already; a byte a voxel is pressed by runs. Explicit VR little endian and RLE lossless.
STORAGE = {"BINARY": "1.2.840.10008.5.1.4.1.1.66.4", "LABELMAP": "1.2.840.10008.5.1.4.1.1.66.7"}
TRANSFER_SYNTAX = {"BINARY": "1.2.840.10008.1.2.1", "LABELMAP": "1.2.840.10008.1.2.5"}


def write(job: Job, target: Path) -> None:
    """BINARY, which every reader knows, or LABELMAP; the organs that are there are its segments, numbered from 1.

    A LABELMAP also describes its background, segment 0: every pixel value must be described, and numbers need not
    start at 1 (DICOM PS3.3, C.8.20.2.3 and C.8.20.2.4). It is of a SOP class of its own since 2024 (Supplement 243).
    A dciodvfy from before knows neither, and says so: "Information Object Not found", "SegmentNumber not
    monotonically increasing from one". It has nothing else to say of it, and nothing at all of BINARY.
    """
    dataset = segmentation(job)
    dataset.save_as(target, enforce_file_format=True)


def segmentation(job: Job) -> Dataset:
    """The SEG object. Raises UsageError without a series, GeometryError when it lies apart from the labelmap."""
    import highdicom

    series = segmented_series(job)
    if not series.segments:
        raise OutputError(f"{job.case}: no organ lies on the series; a DICOM SEG needs at least one segment")
    numbers = np.zeros(256, dtype=np.uint8)
    for number, segment in enumerate(series.segments, start=1):
        numbers[segment.label] = number
    slices, first = series.slices, series.slices[0].header
    kind = highdicom.seg.SegmentationTypeValues(job.options.seg_type.upper())
    identity, facts = reference(series, job.options.seg_type), (*series.facts, kind.value)
    dataset = highdicom.seg.Segmentation(
        source_images=source_images(slices),
        pixel_array=numbers[series.labels],
        segmentation_type=kind,
        segment_descriptions=[
            _description(number, segment, series) for number, segment in enumerate(series.segments, start=1)
        ],
        series_instance_uid=identity.SeriesInstanceUID,
        series_number=SERIES_NUMBER,
        sop_instance_uid=identity.SOPInstanceUID,
        instance_number=1,
        manufacturer="abdoseg",
        manufacturer_model_name="abdoseg",
        software_versions=__version__,
        device_serial_number="0",
        transfer_syntax_uid=TRANSFER_SYNTAX[kind.value],
        content_label="ORGANS",
        content_description="Abdominal organs",
        series_description="Organs (abdoseg)",
        pixel_measures=_measures(slices),
        plane_orientation=highdicom.PlaneOrientationSequence("PATIENT", _short(slices[0].directions)),
        plane_positions=[highdicom.PlanePositionSequence("PATIENT", _short(piece.to_lps[:3, 3])) for piece in slices],
    )
    settle_times(dataset, first)
    dimension = digest_uid("dimension", *facts)
    dataset.DimensionOrganizationSequence[0].DimensionOrganizationUID = dimension
    for index in dataset.DimensionIndexSequence:
        index.DimensionOrganizationUID = dimension
    return dataset


def reference(series: SegmentedSeries, seg_type: str) -> Dataset:
    """The UIDs of the SEG object that these labels make, for those that refer to it."""
    from pydicom.dataset import Dataset

    facts = (*series.facts, seg_type.upper())
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = STORAGE[seg_type.upper()], digest_uid("instance", *facts)
    dataset.SeriesInstanceUID = digest_uid("series", *facts)
    dataset.StudyInstanceUID = series.slices[0].header.StudyInstanceUID
    return dataset


def source_images(slices: list[SourceSlice]) -> list[Dataset]:
    """Each file once."""
    return list({id(piece.header): piece.header for piece in slices}.values())


def _measures(slices: list[SourceSlice]) -> Any:
    """Pixel spacing, and the distance between slices: that of the nearest two, since some may be missing."""
    import highdicom

    centres = np.array([piece.to_lps[:3, 3] for piece in slices])
    normal = slices[0].to_lps[:3, 2]
    steps = np.diff(np.sort(centres @ normal))
    apart = float(steps[steps > 1e-3].min()) if (steps > 1e-3).any() else slices[0].thickness_mm or 1.0
    across_mm, down_mm = np.linalg.norm(slices[0].to_lps[:3, :2], axis=0)
    return highdicom.PixelMeasuresSequence(
        pixel_spacing=_short([down_mm, across_mm]), slice_thickness=_short([apart])[0]
    )


def _short(values: npt.ArrayLike) -> list[float]:
    """Numbers that fit in a decimal string's 16 characters. Source: DICOM PS3.5, 6.2."""
    return [float(f"{value:.9g}") for value in np.asarray(values, dtype=np.float64).ravel()]


def _description(number: int, segment: Segment, series: SegmentedSeries) -> Any:
    import highdicom

    organ = segment.organ
    description = highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=segment.title,
        segmented_property_category=concept_of(segment.category),
        segmented_property_type=concept_of(organ.snomed),
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name="abdoseg",
            family=highdicom.sr.CodedConcept(*ARTIFICIAL_INTELLIGENCE),
            version=__version__,
        ),
        tracking_id=segment.title,
        tracking_uid=series.tracking_uid(segment.name),
        anatomic_regions=[concept_of(BY_NAME[host_of(organ.name)].snomed)] if organ.is_lesion else None,
        display_color=highdicom.color.CIELabColor.from_rgb(*segment.colour),
    )
    if organ.laterality is not None:
        kind = description.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [concept_of(organ.laterality)]
    return description


def settle_times(dataset: Dataset, source: Dataset) -> None:
    """Takes the moment out: times are the scan's, so that the same input gives the same bytes."""
    date, time = date_and_time(source)
    for keyword, value in (("Date", date), ("Time", time)):
        for event in ("Content", "InstanceCreation", "Series"):
            if f"{event}{keyword}" in dataset:
                setattr(dataset, f"{event}{keyword}", value)
    for equipment in dataset.get("ContributingEquipmentSequence", ()):
        if "ContributionDateTime" in equipment:
            equipment.ContributionDateTime = f"{date}{time}"
