"""DICOM RTSTRUCT: contours of the organs on the slices of the series that was segmented.

Source: DICOM PS3.3, C.8.8.5 (Structure Set), C.8.8.6 (ROI Contour), C.8.8.8 (RT ROI Observations).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from abdoseg import __version__
from abdoseg.exporters.contours import outlines
from abdoseg.exporters.dicom_reference import SourceSlice, copy_identity, date_and_time, digest_uid
from abdoseg.exporters.dicom_segments import Segment, SegmentedSeries, segmented_series
from abdoseg.exporters.job import Job

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

STORAGE = "1.2.840.10008.5.1.4.1.1.481.3"
IMPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2"  # with explicit VR, no contour of more than 64 kB could say that it is DS
STUDY_COMPONENT = "1.2.840.10008.3.1.2.3.1"  # Detached Study Management, as the attribute's definition has it
SERIES_NUMBER = 701


def write(job: Job, target: Path) -> None:
    """One structure for each organ that is there; islands are contours of their own, holes keyholes."""
    structure_set(job).save_as(target, enforce_file_format=True)


def structure_set(job: Job) -> Dataset:
    """The RTSTRUCT object. Raises UsageError without a series, GeometryError when it lies apart from the labelmap."""
    from pydicom.dataset import Dataset, FileMetaDataset

    series = segmented_series(job)
    slices, facts = series.slices, series.facts
    first = slices[0].header
    dataset = Dataset()
    copy_identity(first, dataset)
    dataset.SOPClassUID, dataset.SOPInstanceUID = STORAGE, digest_uid("RTSTRUCT", *facts)
    dataset.SeriesInstanceUID = digest_uid("RTSTRUCT series", *facts)
    dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber = "RTSTRUCT", SERIES_NUMBER, 1
    dataset.SeriesDescription = "Organs (abdoseg)"
    dataset.Manufacturer = dataset.ManufacturerModelName = "abdoseg"
    dataset.SoftwareVersions, dataset.OperatorsName = __version__, None
    dataset.StructureSetLabel, dataset.StructureSetName = "ORGANS", "Abdominal organs"
    dataset.SeriesDate, dataset.SeriesTime = date_and_time(first)
    dataset.StructureSetDate, dataset.StructureSetTime = dataset.SeriesDate, dataset.SeriesTime
    dataset.ApprovalStatus = "UNAPPROVED"
    dataset.PositionReferenceIndicator = None
    dataset.ReferencedFrameOfReferenceSequence = [_frame_of_reference(slices)]
    dataset.StructureSetROISequence, dataset.ROIContourSequence, dataset.RTROIObservationsSequence = [], [], []
    for number, segment in enumerate(series.segments, start=1):
        dataset.StructureSetROISequence.append(_roi(number, segment, first.FrameOfReferenceUID))
        dataset.ROIContourSequence.append(_contours(number, segment, series))
        dataset.RTROIObservationsSequence.append(_observation(number, segment))
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = IMPLICIT_LITTLE_ENDIAN
    return dataset


def _frame_of_reference(slices: list[SourceSlice]) -> Dataset:
    from pydicom.dataset import Dataset

    header = slices[0].header
    frame, study, series = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = header.SeriesInstanceUID
    series.ContourImageSequence = [_image(piece) for piece in slices]
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = STUDY_COMPONENT, header.StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID = header.FrameOfReferenceUID
    frame.RTReferencedStudySequence = [study]
    return frame


def _image(piece: SourceSlice) -> Dataset:
    from pydicom.dataset import Dataset

    image = Dataset()
    image.ReferencedSOPClassUID = piece.header.SOPClassUID
    image.ReferencedSOPInstanceUID = piece.header.SOPInstanceUID
    if piece.is_multiframe:
        image.ReferencedFrameNumber = piece.frame + 1
    return image


def _roi(number: int, segment: Segment, frame_of_reference: str) -> Dataset:
    from pydicom.dataset import Dataset

    roi = Dataset()
    roi.ROINumber, roi.ROIName = number, segment.name
    roi.ReferencedFrameOfReferenceUID = frame_of_reference
    roi.ROIGenerationAlgorithm = "AUTOMATIC"
    return roi


def _contours(number: int, segment: Segment, series: SegmentedSeries) -> Dataset:
    from pydicom.dataset import Dataset

    contours = []
    for mask, piece in zip(series.labels == segment.label, series.slices, strict=True):
        for outline in outlines(mask):
            contour = Dataset()
            contour.ContourImageSequence = [_image(piece)]
            contour.ContourGeometricType = "CLOSED_PLANAR"
            contour.NumberOfContourPoints = len(outline)
            places = np.column_stack([outline[:, ::-1], np.zeros(len(outline)), np.ones(len(outline))])
            contour.ContourData = [f"{value:.4f}" for value in (places @ piece.to_lps.T)[:, :3].ravel()]
            contours.append(contour)
    roi = Dataset()
    roi.ReferencedROINumber = number
    roi.ROIDisplayColor = list(segment.colour)
    roi.ContourSequence = contours
    return roi


def _observation(number: int, segment: Segment) -> Dataset:
    from pydicom.dataset import Dataset

    observation, code = Dataset(), Dataset()
    organ = segment.organ
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = organ.snomed.value, "SCT", organ.snomed.meaning
    observation.ObservationNumber = observation.ReferencedROINumber = number
    observation.RTROIIdentificationCodeSequence = [code]
    observation.RTROIInterpretedType = "GTV" if organ.is_lesion else "ORGAN"
    observation.ROIInterpreter = None
    return observation
