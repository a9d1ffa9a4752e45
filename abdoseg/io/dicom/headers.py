"""DICOM headers: what each file is, where each of its frames lies, and how its numbers become HU.

Source: DICOM PS3.3, C.7.6.2 (image plane), C.7.6.16 (functional groups), C.8.2.1 (CT image), C.11.1 (modality LUT).
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from abdoseg.errors import ScanError
from abdoseg.io.archive import Entry

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Vector = npt.NDArray[np.float64]
MAX_INFLATED = 2**30
WHOLE = 2**26  # files up to 64 MiB are parsed from memory, where a false length cannot ask for more than there is
DEFLATED = b"1.2.840.10008.1.2.1.99"
CT_CLASSES = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
NOT_DICOM = "file that is no DICOM"
DIRECTORY = "1.2.840.10008.1.3.10"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # its multi-frame kin begin with it
OTHERS = {"PT": "PET", "SR": "dose report or other structured report", "PR": "presentation state", "OT": "picture"}
# Values of ImageType that say that the numbers are no HU. Source: DICOM PS3.3, C.8.15.3.1.1.
MAPS = {"PERFUSION", "RCBF", "RCBV", "CBF", "CBV", "MTT", "TTP", "TMAX", "PBV", "PERMEABILITY"}
# US, unspecified, is what many write who mean HU. Source: DICOM PS3.3, C.11.1.1.2.
HU_TYPES = {"", "HU", "US", "HU_MOD"}
# What tells two frames at one place apart, in the order in which it is tried.
SPLITTERS = ("AcquisitionNumber", "TemporalPositionIdentifier", "TemporalPositionIndex", "StackID", "ConvolutionKernel",
             "KVP", "ImageType", "AcquisitionTime", "ContentTime")  # fmt: skip
# What else a header is read for: the choice of a series, and the record.
RECORDED = ("SeriesInstanceUID", "StudyInstanceUID", "SeriesNumber", "SeriesDescription", "PatientPosition",
         "ContrastBolusAgent")  # fmt: skip
DEFAULT_SYNTAX = "1.2.840.10008.1.2"  # implicit little endian, where a file does not say. Source: DICOM PS3.5, 10.1


class NotASliceError(Exception):
    """A file that is no slice of a CT; the message is a word or two on what it is, without patient data."""


@dataclass(frozen=True, eq=False)
class Slice:
    """One frame of one file. LPS mm; `row` and `column` are unit vectors along increasing column and row index.

    matrix: rows and columns. spacing_mm: along `row`, then along `column`. attributes: the values of RECORDED and
    SPLITTERS as text, '' where there is none. header: for writers of DICOM; any access to it may fail, all else here
    is checked.
    """

    entry: Entry
    frame: int
    header: Dataset
    position: Vector
    row: Vector
    column: Vector
    matrix: tuple[int, int]
    spacing_mm: tuple[float, float]
    slope: float
    intercept: float
    bits: int
    padding: int | None
    syntax: str
    attributes: Mapping[str, str]

    @cached_property
    def normal(self) -> Vector:
        """(3,) unit vector out of the slice, right-handed with row and column."""
        return np.cross(self.row, self.column)


def read_slices(entry: Entry) -> list[Slice]:
    """Reads the slices in a file: one, or the frames of a multi-frame object.

    Raises NotASliceError, and ScanError when the system cannot read the file.
    """
    try:
        header = read_dataset(entry, pixels=False)
        _check_kind(header)
        return read_frames(entry, header) if "PerFrameFunctionalGroupsSequence" in header else [_slice(entry, header)]
    except (NotASliceError, Warning):  # warnings are raised where the user has made errors of them
        raise
    except ScanError as error:
        raise NotASliceError("deflated file beyond all bounds") from error
    except PermissionError as error:
        raise NotASliceError("file without permission to read it") from error
    except Exception as error:  # damaged headers make pydicom raise exceptions of every kind
        if isinstance(error, OSError) and error.errno:
            raise ScanError(f"{entry.name}: cannot be read ({error.strerror})") from error
        raise NotASliceError("damaged DICOM file") from error


def is_dicom(head: bytes) -> bool:
    """Whether a file begins as DICOM: with the prefix or, where that is lacking, an element of group 2 or 8."""
    return head[128:132] == b"DICM" or (head[:2] in (b"\x02\x00", b"\x08\x00") and head[3:4] == b"\x00")


def _with_syntax(dataset: Dataset) -> Dataset:
    """With the transfer syntax that a file without a meta header turned out to have, for those who decode pixels."""
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit = dataset.original_encoding[0]
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    return dataset


def read_dataset(entry: Entry, pixels: bool) -> Dataset:
    """A file's elements, up to the pixels or with them; a deflated file is inflated within bounds.

    Raises NotASliceError for what is no DICOM, ScanError for a deflate bomb, and whatever pydicom raises.
    """
    from pydicom import dcmread
    from pydicom.dataset import FileMetaDataset
    from pydicom.filebase import DicomBytesIO
    from pydicom.filereader import read_dataset as read_elements
    from pydicom.uid import ExplicitVRLittleEndian

    with entry.open() as file:
        head = file.read(1024)
        if not is_dicom(head):
            raise NotASliceError(NOT_DICOM)
        if DEFLATED + b"\0" not in head and DEFLATED + b"\x02" not in head:
            if entry.size > WHOLE:
                file.seek(0)
                return _with_syntax(dcmread(file, force=True, stop_before_pixels=not pixels))
            return _with_syntax(dcmread(io.BytesIO(head + file.read()), force=True, stop_before_pixels=not pixels))
        # The meta group's length stands at byte 140; what follows the group is deflated. Source: DICOM PS3.5, A.5.
        start = 144 + int.from_bytes(head[140:144], "little")
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        elements = inflate.decompress((head + file.read())[start:], MAX_INFLATED)
    if inflate.unconsumed_tail:
        raise ScanError(f"{entry.name}: would inflate beyond {MAX_INFLATED / 2**30:.0f} GB; refused")
    dataset = read_elements(DicomBytesIO(elements), is_implicit_VR=False, is_little_endian=True)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def listed_files(directory: Entry) -> list[tuple[str, ...]]:
    """The parts of the path of each image that a DICOMDIR lists; none where it is damaged."""
    try:
        records = read_dataset(directory, pixels=False).DirectoryRecordSequence
        images = [record for record in records if record.DirectoryRecordType == "IMAGE"]
        return [tuple(str(part) for part in _values(record.get("ReferencedFileID"))) for record in images]
    except Exception:  # as in read_slices; what a DICOMDIR says is a help, not needed
        return []


def _check_kind(header: Dataset) -> None:
    """Raises NotASliceError for everything but the pixels of a CT."""
    modality = str(header.get("Modality", ""))
    sop_class = str(header.get("SOPClassUID", ""))
    image_type = [str(value).upper() for value in _values(header.get("ImageType"))]
    if "DirectoryRecordSequence" in header or sop_class == DIRECTORY:
        raise NotASliceError("DICOMDIR")
    if not modality and not sop_class:  # every object has both: the file ends before them
        raise NotASliceError("damaged DICOM file")
    if modality != "CT" and not (modality == "" and sop_class in CT_CLASSES):
        word = OTHERS.get(modality, modality if modality.isalnum() and len(modality) <= 16 else "object of no modality")
        raise NotASliceError(f"{word}, not CT")
    if sop_class.startswith(SECONDARY_CAPTURE):
        raise NotASliceError("secondary capture, not CT slice")
    if "LOCALIZER" in image_type:
        raise NotASliceError("localizer")
    if MAPS & set(image_type[2:]):
        raise NotASliceError("perfusion map, not HU")
    if not header.get("Rows") or not header.get("Columns"):
        raise NotASliceError("CT header without pixel data")
    if int(header.get("SamplesPerPixel", 1)) != 1 or not str(
        header.get("PhotometricInterpretation", "MONOCHROME2")
    ).startswith("MONOCHROME"):
        raise NotASliceError("colour picture")


def _values(value: Any) -> list[Any]:
    """An element's values, whether it has none, one or many."""
    if value is None or isinstance(value, (str, bytes, int, float)):
        return [] if value in (None, "") else [value]
    return list(value)


def _slice(entry: Entry, header: Dataset) -> Slice:
    """The slice of a single-frame file."""
    if int(header.get("NumberOfFrames") or 1) > 1:
        raise NotASliceError("multi-frame picture without positions")
    return _make_slice(entry, 0, header, [header])


def read_frames(entry: Entry, header: Dataset) -> list[Slice]:
    """The frames of an enhanced object: each frame's own functional groups, then those that all frames share."""
    shared = _values(header.get("SharedFunctionalGroupsSequence"))
    slices = []
    for frame, own in enumerate(header.PerFrameFunctionalGroupsSequence):
        groups = [item for group in (own, *shared) for element in group if element.VR == "SQ" for item in element.value]
        for item in groups:
            kind = [str(value).upper() for value in _values(item.get("FrameType"))]
            if "LOCALIZER" in kind:
                raise NotASliceError("localizer")
            if MAPS & set(kind[2:]):
                raise NotASliceError("perfusion map, not HU")
        slices.append(_make_slice(entry, frame, header, [*groups, header]))
    if not slices:
        raise NotASliceError("multi-frame object without frames")
    return slices


def _make_slice(entry: Entry, frame: int, header: Dataset, groups: list[Dataset]) -> Slice:
    """A slice from the first group that has each attribute. Raises NotASliceError when it has no place in space."""

    def first(keyword: str) -> Any:
        return next((group[keyword].value for group in groups if keyword in group), None)

    position = np.array(_values(first("ImagePositionPatient")), dtype=np.float64)
    axes = np.array(_values(first("ImageOrientationPatient")), dtype=np.float64)
    spacing = np.array(_values(first("PixelSpacing")), dtype=np.float64)
    if position.shape != (3,) or axes.shape != (6,) or spacing.shape != (2,):
        raise NotASliceError("picture without position, orientation or pixel spacing")
    lengths = np.linalg.norm(axes.reshape(2, 3), axis=1)
    sane = spacing.min() > 0.01 and spacing.max() < 50 and np.all(abs(lengths - 1) < 0.1)
    if not (sane and np.isfinite(position).all()):
        raise NotASliceError("slice with impossible position, orientation or pixel spacing")
    row, column = axes[:3] / lengths[0], axes[3:] / lengths[1]
    if abs(row @ column) > 0.01:
        raise NotASliceError("slice whose rows and columns are not at right angles")
    if (kind := str(first("RescaleType") or "").upper()) not in HU_TYPES:
        raise NotASliceError(f"image in {kind[:16]}, not HU")
    slope, intercept = first("RescaleSlope"), first("RescaleIntercept")
    slope, intercept = float(1 if slope is None else slope), float(0 if intercept is None else intercept)
    if not (np.isfinite([slope, intercept]).all() and slope):
        raise NotASliceError("slice with impossible rescale slope or intercept")
    padding = first("PixelPaddingValue")
    meta = getattr(header, "file_meta", None)
    return Slice(
        entry=entry,
        frame=frame,
        header=header,
        position=position,
        row=row,
        column=column,
        matrix=(int(header.Rows), int(header.Columns)),
        spacing_mm=(float(spacing[1]), float(spacing[0])),
        slope=slope,
        intercept=intercept,
        bits=int(header.get("BitsAllocated") or 16),
        padding=padding if isinstance(padding, int) else None,
        syntax=str(meta.get("TransferSyntaxUID", DEFAULT_SYNTAX)) if meta else DEFAULT_SYNTAX,
        attributes={keyword: str(first(keyword) or "") for keyword in (*RECORDED, *SPLITTERS)},
    )
