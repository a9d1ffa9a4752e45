"""DICOM SR (structured report, TID 1500): volumes and HU of organs, diameters of lesions, through highdicom.

It refers to the DICOM SEG of the same labels and options, whose UIDs are known whether or not that is written too.
Source: DICOM PS3.16, TID 1500 (report), TID 1411 and 1501 (measurement groups), CID 7470 (linear measurements).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from abdoseg import __version__
from abdoseg.anatomy.organs import BY_NAME, LESION, Organ, host_of
from abdoseg.errors import OutputError
from abdoseg.exporters import dicom_seg
from abdoseg.exporters.dicom_reference import digest_uid
from abdoseg.exporters.dicom_segments import Segment, SegmentedSeries, concept_of, segmented_series
from abdoseg.exporters.job import Job
from abdoseg.image.lesions import Lesion
from abdoseg.image.volumetry import OrganVolume

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SERIES_NUMBER = 702
Concept = tuple[str, str, str]  # code, scheme, meaning
VOLUME: Concept = ("118565006", "SCT", "Volume")
ATTENUATION: Concept = ("112031", "DCM", "Attenuation Coefficient")
MEAN: Concept = ("373098007", "SCT", "Mean")
LONG_AXIS: Concept = ("103339001", "SCT", "Long axis")
SHORT_AXIS: Concept = ("103340004", "SCT", "Short axis")
DIAMETER_3D: Concept = ("L0JK", "IBSI", "Maximum 3D diameter")
MILLILITRE: Concept = ("mL", "UCUM", "milliliter")
MILLIMETRE: Concept = ("mm", "UCUM", "millimeter")
HOUNSFIELD: Concept = ("[hnsf'U]", "UCUM", "Hounsfield unit")


def write(job: Job, target: Path) -> None:
    """One measurement group for each organ that is there and each lesion."""
    structured_report(job).save_as(target, enforce_file_format=True)


def structured_report(job: Job) -> Dataset:
    """The SR object.

    Raises:
        UsageError: no series is known.
        GeometryError: the series lies apart from the labelmap.
        OutputError: no organ lies on the series.
    """
    from highdicom import sr

    series = segmented_series(job)
    if not series.segments:
        raise OutputError(f"{job.case}: no organ lies on the series; a structured report needs at least one")
    first = series.slices[0].header
    seg = dicom_seg.reference(series, job.options.seg_type)
    facts = (*series.facts, job.options.seg_type, [lesion.volume_ml for lesion in job.lesions or ()])
    observer = sr.ObserverContext(
        observer_type=sr.CodedConcept("121007", "DCM", "Device"),
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=digest_uid("device", "abdoseg", __version__), name="abdoseg", model_name="abdoseg"
        ),
    )
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer),
        procedure_reported=sr.CodedConcept("25045-6", "LN", "CT unspecified body region"),
        imaging_measurements=list(_groups(job, series, seg)),
    )
    dataset = sr.Comprehensive3DSR(
        evidence=[*dicom_seg.source_images(series.slices), seg],
        content=content[0],
        series_instance_uid=digest_uid("SR series", *facts),
        series_number=SERIES_NUMBER,
        sop_instance_uid=digest_uid("SR", *facts),
        instance_number=1,
        manufacturer="abdoseg",
        is_complete=True,
    )
    dataset.SeriesDescription = "Organ and lesion measurements (abdoseg)"
    dataset.ManufacturerModelName, dataset.SoftwareVersions, dataset.DeviceSerialNumber = "abdoseg", __version__, "0"
    dicom_seg.settle_times(dataset, first)
    return dataset


def _groups(job: Job, series: SegmentedSeries, seg: Dataset) -> Iterator[Any]:
    """Organs by their segments; lesions by theirs where they are apart, or without any."""
    lesions = {lesion.number: lesion for lesion in job.lesions or ()}
    rows = {row.organ: row for row in job.rows}
    for number, segment in enumerate(series.segments, start=1):
        if segment.lesion:
            measurements = _of_lesion(lesions[segment.lesion])
        else:
            measurements = _of_organ(rows[segment.name])
        yield _group(segment, measurements, series, seg, number)
    if not job.options.lesions_apart:
        for lesion in lesions.values():
            one = Segment(0, f"{LESION}_{lesion.number}", BY_NAME[LESION], lesion.number)
            yield _group(one, _of_lesion(lesion), series, seg, None)


def _group(segment: Segment, measurements: list[Any], series: SegmentedSeries, seg: Dataset, number: int | None) -> Any:
    """number: of its segment in the SEG, None where it has none of its own."""
    from highdicom import sr

    common = {
        "tracking_identifier": sr.TrackingIdentifier(series.tracking_uid(segment.name), segment.title),
        "finding_category": concept_of(segment.category),
        "finding_type": concept_of(segment.organ.snomed),
        "finding_sites": [_site(segment.organ)],
        "algorithm_id": sr.AlgorithmIdentification("abdoseg", __version__),
        "measurements": measurements,
    }
    if number is None:
        return sr.MeasurementsAndQualitativeEvaluations(**common)
    source = sr.SourceSeriesForSegmentation(series.slices[0].header.SeriesInstanceUID)
    referenced = sr.ReferencedSegment(seg.SOPClassUID, seg.SOPInstanceUID, number, source_series=source)
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_segment=referenced, **common)


def _of_organ(row: OrganVolume) -> list[Any]:
    return [_measurement(VOLUME, row.volume_ml, MILLILITRE), *_mean_hu(row.mean_hu)]


def _of_lesion(lesion: Lesion) -> list[Any]:
    return [
        _measurement(VOLUME, lesion.volume_ml, MILLILITRE),
        _measurement(LONG_AXIS, lesion.longest_axial_mm, MILLIMETRE),
        _measurement(SHORT_AXIS, lesion.perpendicular_mm, MILLIMETRE),
        _measurement(DIAMETER_3D, lesion.longest_3d_mm, MILLIMETRE),
        *_mean_hu(lesion.mean_hu),
    ]


def _mean_hu(value: float | None) -> list[Any]:
    return [] if value is None else [_measurement(ATTENUATION, value, HOUNSFIELD, MEAN)]


def _measurement(name: Concept, value: float, unit: Concept, derivation: Concept | None = None) -> Any:
    from highdicom import sr

    derived = None if derivation is None else sr.CodedConcept(*derivation)
    return sr.Measurement(sr.CodedConcept(*name), float(f"{value:.6g}"), sr.CodedConcept(*unit), derivation=derived)


def _site(organ: Organ) -> Any:
    """The organ itself; of a lesion, the organ that it lies in."""
    from highdicom import sr

    where = BY_NAME[host_of(organ.name)] if organ.is_lesion else organ
    return sr.FindingSite(concept_of(where.snomed), None if where.laterality is None else concept_of(where.laterality))
