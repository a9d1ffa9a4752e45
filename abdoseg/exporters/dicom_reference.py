"""The DICOM series that was segmented: its slices, the place of each in space, and the labels on it.

Places come from every slice's own position and orientation, never from flips or an order. DICOM's space is LPS mm.
Source: DICOM PS3.3, C.7.6.2.1.1 (image position and orientation) and equation C.7.6.2.1-1.
"""

from __future__ import annotations

import copy
import hashlib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from abdoseg.errors import GeometryError
from abdoseg.image.volume import Labelmap
from abdoseg.io.dicom.reader import ordered_headers

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

logger = logging.getLogger("abdoseg")
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
OFF_GRID = 0.05  # of a voxel
MOST_LOST = 0.2  # of the labelled voxels, where slices were missing
# Attributes that a DICOM object must have, though they may be empty; archives drop them all the same.
TYPE_2 = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"),
    *("AccessionNumber", "ReferringPhysicianName"),
)
SEXES = ("M", "F", "O")  # Source: PS3.3, C.7.1.1
# Emptied if they are none.
DATES, TIMES = ("PatientBirthDate", "StudyDate", "SeriesDate"), ("StudyTime", "SeriesTime")
NUMBERS = ("PatientSize", "PatientWeight", "SliceThickness")


@dataclass(frozen=True, eq=False)
class SourceSlice:
    """One measured slice. `to_lps` (4, 4) takes (column, row, 0, 1) to LPS mm. frame: from 0, in its file."""

    header: Dataset
    frame: int
    to_lps: npt.NDArray[np.float64]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return int(self.header.Rows), int(self.header.Columns)

    @property
    def directions(self) -> npt.NDArray[np.float64]:
        """(6,) unit vectors along a row and down a column."""
        across = self.to_lps[:3, :2] / np.linalg.norm(self.to_lps[:3, :2], axis=0)
        return np.asarray(across.T.ravel(), dtype=np.float64)

    @property
    def is_multiframe(self) -> bool:
        """Whether the file holds more slices than this one."""
        return "PerFrameFunctionalGroupsSequence" in self.header

    @property
    def thickness_mm(self) -> float | None:
        """SliceThickness, where the header has it."""
        value = _of_frame(self.header, self.frame, "PixelMeasuresSequence", "SliceThickness")
        return None if value is None else float(value)


def source_slices(path: Path, series: str | None = None, gaps: str = "auto") -> list[SourceSlice]:
    """The slices that `read_scan` reads from this path, in its order. Raises ScanError, SeriesError."""
    headers: dict[int, Dataset] = {}
    slices = []
    for header, frame, _ in ordered_headers(path, series=series, gaps=gaps):
        if id(header) not in headers:
            headers[id(header)] = _completed(header, len(headers))
        ready = headers[id(header)]
        slices.append(SourceSlice(ready, frame, _to_lps(ready, frame)))
    return slices


def labels_on(labelmap: Labelmap, slices: Sequence[SourceSlice]) -> npt.NDArray[np.uint8]:
    """(slices, rows, columns) the label at the centre of every pixel; 0 outside the labelmap and for other organs.

    Raises GeometryError when the series and the labelmap lie apart, or the series shows too little of it.
    """
    table = labelmap.named
    out = np.zeros((len(slices), *slices[0].shape), dtype=np.uint8)
    to_index = np.linalg.inv(labelmap.geometry.affine) @ LPS_TO_RAS
    covered, furthest = 0, 0.0
    for number, piece in enumerate(slices):
        if piece.shape != out.shape[1:]:
            raise GeometryError(f"slices of {piece.shape} and of {out.shape[1:]} pixels in one series; split it")
        matrix = to_index @ piece.to_lps
        indices, inside, off = [], np.ones((1, 1), dtype=bool), 0.0
        for axis, size in enumerate(labelmap.geometry.shape):
            place = _along(matrix[axis], piece.shape)
            nearest = np.rint(place)
            off = max(off, float(np.abs(place - nearest).max()))
            inside = inside & (nearest >= 0) & (nearest < size)
            indices.append(np.clip(nearest, 0, size - 1).astype(np.intp))
        covered += bool(inside.any())
        furthest = max(furthest, off if inside.any() else 0.0)
        out[number] = np.where(inside, table[labelmap.labels[tuple(indices)]], 0)
    if not covered:
        raise GeometryError(
            "the labelmap and the DICOM series do not overlap anywhere; is --reference the series that was segmented?"
        )
    if furthest > OFF_GRID:
        logger.warning("the labelmap's grid is not the series' own: labels are taken from the nearest voxel")
        return out
    whole = np.count_nonzero(table[labelmap.labels])
    if lost := (1 - np.count_nonzero(out) / whole) if whole else 0.0:
        message = f"{lost:.1%} of the labelled voxels lie on no slice of the series"
        if lost > MOST_LOST:
            raise GeometryError(f"{message}; is --reference the series that was segmented, and all of it?")
        logger.warning("%s: slices that were interpolated have none", message)
    return out


def digest_uid(*facts: object) -> str:
    """A UID that is the same for the same facts. Source: DICOM PS3.5, B.2 (UUID derived UIDs)."""
    digest = hashlib.sha256("\n".join(str(fact) for fact in facts).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def labels_digest(labels: npt.NDArray[np.uint8]) -> str:
    """What tells one labelling of a series from another."""
    return hashlib.sha256(np.ascontiguousarray(labels).tobytes()).hexdigest()


def copy_identity(source: Dataset, target: Dataset) -> None:
    """The patient, the study and the frame of reference, so that the object is filed with its scan."""
    for keyword in (*TYPE_2, "StudyInstanceUID", "StudyDescription", "FrameOfReferenceUID", "SpecificCharacterSet"):
        if keyword in source:
            target[keyword] = copy.deepcopy(source[keyword])


def date_and_time(header: Dataset) -> tuple[str, str]:
    """When the series was made, or its study; the same for every object that is made of it."""
    date = header.get("SeriesDate") or header.get("StudyDate") or "19000101"
    return date, header.get("SeriesTime") or header.get("StudyTime") or "000000"


def _along(row: npt.NDArray[np.float64], shape: tuple[int, int]) -> npt.NDArray[np.float64]:
    """One voxel index over a slice's pixels, broadcast: (rows, 1) or (1, columns) where it runs along one side only."""
    rows, columns = np.arange(shape[0])[:, None], np.arange(shape[1])[None, :]
    place = np.full((1, 1), row[3])
    if abs(row[0]) * shape[1] > 1e-3:
        place = place + row[0] * columns
    if abs(row[1]) * shape[0] > 1e-3:
        place = place + row[1] * rows
    return place


def _to_lps(header: Dataset, frame: int) -> npt.NDArray[np.float64]:
    orientation = np.array(
        _of_frame(header, frame, "PlaneOrientationSequence", "ImageOrientationPatient"), dtype=np.float64
    )
    down_mm, across_mm = (float(v) for v in _of_frame(header, frame, "PixelMeasuresSequence", "PixelSpacing"))
    matrix = np.eye(4)
    matrix[:3, 0] = orientation[:3] * across_mm
    matrix[:3, 1] = orientation[3:] * down_mm
    matrix[:3, 2] = np.cross(orientation[:3], orientation[3:])
    matrix[:3, 3] = np.array(
        _of_frame(header, frame, "PlanePositionSequence", "ImagePositionPatient"), dtype=np.float64
    )
    return matrix


def _of_frame(header: Dataset, frame: int, group: str, keyword: str) -> Any:
    """An attribute of a slice: the header's own, or that of the frame's or the shared functional group."""
    if "PerFrameFunctionalGroupsSequence" not in header:
        return header.get(keyword)
    for groups in (header.PerFrameFunctionalGroupsSequence[frame], header.SharedFunctionalGroupsSequence[0]):
        if group in groups and keyword in groups[group][0]:
            return groups[group][0][keyword].value
    return header.get(keyword)


def _completed(header: Dataset, number: int) -> Dataset:
    """A header with what the standard demands of every object, empty or derived where it is missing or broken."""
    from pydicom.uid import UID
    from pydicom.valuerep import DA, TM

    header = copy.copy(header)
    for keyword in (*TYPE_2, "SliceThickness"):
        if keyword not in header:
            setattr(header, keyword, None)
    for keyword in (date for date in DATES if date in header):
        digits = str(header.get(keyword) or "").replace(".", "")  # 2020.01.02 is of ACR-NEMA. Source: PS3.5, 6.2
        setattr(header, keyword, digits if re.fullmatch("[0-9]{8}", digits) else None)
    for kind, keywords in ((DA, DATES), (TM, TIMES), (float, NUMBERS)):
        for keyword in keywords:
            try:
                if header.get(keyword) is not None:
                    kind(header.get(keyword))
            except (ValueError, TypeError):  # such as 00000000, which hides a date of birth, or 79,5
                setattr(header, keyword, None)
    if header.PatientSex not in SEXES:
        header.PatientSex = None
    _settle_character_set(header)
    meta = getattr(header, "file_meta", {})
    known = {
        "SOPClassUID": meta.get("MediaStorageSOPClassUID") or CT_IMAGE_STORAGE,
        "SOPInstanceUID": meta.get("MediaStorageSOPInstanceUID")
        or digest_uid("instance", header.get("SeriesInstanceUID"), number),
    }
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        known[keyword] = digest_uid(keyword, header.get("SeriesInstanceUID"), header.get("StudyInstanceUID"))
    if not UID(str(header.get("FrameOfReferenceUID") or "")).is_valid:
        header.FrameOfReferenceUID = None
    for keyword, uid in known.items():
        if not header.get(keyword):
            setattr(header, keyword, uid)
    if "SharedFunctionalGroupsSequence" in header:  # what holds for all frames is looked for here
        shared = copy.deepcopy(header.SharedFunctionalGroupsSequence[0])
        for group in ("PixelMeasuresSequence", "PlaneOrientationSequence"):
            if group not in shared:
                setattr(shared, group, header.PerFrameFunctionalGroupsSequence[0][group].value)
        header.SharedFunctionalGroupsSequence = [shared]
    return header


def _settle_character_set(header: Dataset) -> None:
    """Turns text to UTF-8 but where one character set is named that highdicom knows: several, or none, it refuses."""
    from pydicom.charset import python_encoding

    single = [name for name in python_encoding if name not in ("", "ISO_IR 6") and "2022" not in name]
    if "SpecificCharacterSet" in header and header.SpecificCharacterSet not in single:
        header.decode()
        header.SpecificCharacterSet = "ISO_IR 192"
