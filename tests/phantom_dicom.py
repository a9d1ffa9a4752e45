"""Phantom DICOM series written by the tests: any orientation, tilt, gap, encoding or company.

`write_series(folder, voxels, affine)` takes HU as (I, J, K) and the affine of those axes to RAS mm. I becomes the
columns of each slice, J its rows and K the slices, so a series in any orientation is a matter of the affine.
"""

from __future__ import annotations

import copy
import io
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from phantom_jpeg import htj2k, jpeg_baseline, jpeg_lossless
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    JPEG2000,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSNearLossless,
    generate_uid,
)

from abdoseg.image.volume import Labelmap, Volume
from abdoseg.io import read_scan

CT, ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1"
LEGACY_CT = "1.2.840.10008.5.1.4.1.1.2.2"
COMPANY = {  # kinds of object found beside a CT: modality, SOP class
    "seg": ("SEG", "1.2.840.10008.5.1.4.1.1.66.4"),
    "rtstruct": ("RTSTRUCT", "1.2.840.10008.5.1.4.1.1.481.3"),
    "dose_report": ("SR", "1.2.840.10008.5.1.4.1.1.88.67"),
    "secondary_capture": ("CT", "1.2.840.10008.5.1.4.1.1.7"),
    "pet": ("PT", "1.2.840.10008.5.1.4.1.1.128"),
    "mr": ("MR", "1.2.840.10008.5.1.4.1.1.4"),
}
AXIAL = np.array([[-1.0, 0, 0, 60], [0, -1.0, 0, 50], [0, 0, 2.5, -40], [0, 0, 0, 1]])  # head first, supine
PATIENT = {"PatientName": "Doe^Jane", "PatientID": "ID-4711", "PatientBirthDate": "19500101", "StudyDate": "20200102"}


def body(shape: tuple[int, int, int] = (40, 36, 12), seed: int = 0) -> np.ndarray:
    """(I, J, K) int16 HU: air, an ellipse of soft tissue in fat, and something different in every corner and slice."""
    rng = np.random.default_rng(seed)
    i, j, k = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    radius = i**2 / 0.8 + j**2 / 0.5
    hu = np.where(radius < 0.7, 50, np.where(radius < 1, -100, -1000)) + rng.integers(-15, 16, shape)
    hu = hu + np.round(40 * k).astype(int) * (radius < 0.7)
    hu[: shape[0] // 4, : shape[1] // 4] += 7
    hu[np.abs(i) + np.abs(j + 0.5) < 0.15] = 700
    return np.maximum(hu, -1024).astype(np.int16)


def tilted(affine: np.ndarray, degrees: float) -> np.ndarray:
    """The affine of a gantry tilted about the patient's left-right axis: rows turn, the table still moves along K."""
    angle = np.radians(degrees)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    out = np.array(affine, float)
    out[:3, :2] = turn @ out[:3, :2]
    return out


def write_series(
    folder: Path,
    voxels: np.ndarray,
    affine: np.ndarray = AXIAL,
    *,
    transfer_syntax: str | Sequence[str] = ExplicitVRLittleEndian,
    slope: float | Sequence[float] = 1,
    intercept: float | Sequence[float] = -1024,
    signed: bool = False,
    bits_stored: int = 16,
    padding: int | None = None,
    monochrome1: bool = False,
    missing: Iterable[int] = (),
    positions_mm: Sequence[float] | None = None,
    twins: Iterable[int] = (),
    rivals: Iterable[int] = (),
    enhanced: str | None = None,
    company: Iterable[str] = (),
    localizer: bool = False,
    dicomdir: bool = False,
    names: Any = None,
    tags: dict[str, Any] | None = None,
    change: Callable[[Dataset], None] | None = None,
    lossy: bool = False,
    modality: str = "CT",
    sop_class: str = CT,
    seed: int = 0,
) -> list[Path]:
    """Writes a series and returns its files. File names and InstanceNumbers are shuffled: only geometry gives order.

    transfer_syntax, slope, intercept: one for all, or one a slice (taken in turn).
    positions_mm: distance of each slice from the first along K, in place of even spacing.
    missing: slices left out. twins: written twice, identical. rivals: written twice with different pixels.
    enhanced: None, or the SOP class of one multi-frame file (ENHANCED_CT, LEGACY_CT).
    company: keys of COMPANY, one file each in a series of its own. tags: attributes set on every slice at the
    end; change: anything else done to it. lossy: JPEG 2000 and JPEG-LS at some loss.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    uids = {"study": generate_uid(), "series": generate_uid(), "frame": generate_uid()}
    count = voxels.shape[2]
    numbers = rng.sample(range(1, count + 1), count)
    missing, twins, rivals = set(missing), set(twins), set(rivals)
    slices = []
    for k in range(count):
        origin = np.array(affine, float)[:3, 3] + _step(affine, k, positions_mm)
        dataset = _slice(affine, origin, uids, numbers[k], modality, sop_class)
        stored = {"slope": _turn(slope, k), "intercept": _turn(intercept, k), "signed": signed, "bits": bits_stored,
                  "padding": padding, "monochrome1": monochrome1}  # fmt: skip
        _set_pixels(dataset, voxels[:, :, k], **stored)
        for keyword, value in (tags or {}).items():
            setattr(dataset, keyword, value)
        if change:
            change(dataset)
        slices.append(dataset)
    written = [dataset for k, dataset in enumerate(slices) if k not in missing]
    if enhanced:
        written = [_multiframe(written, enhanced)]
    files = []
    order = rng.sample(range(len(written)), len(written))
    for at, dataset in zip(order, written, strict=True):
        files.append(folder / (names(at) if names else f"IM{at:05d}" + ("" if dicomdir else ".dcm")))
        _save(dataset, files[-1], _turn(transfer_syntax, at), lossy)
    for k in twins | rivals:
        again = pydicom.dcmread(io.BytesIO(_bytes(slices[k], ExplicitVRLittleEndian)))
        if k in rivals:
            _set_pixels(again, np.minimum(voxels[:, :, k] + 50, 1000), **stored)
        again.SOPInstanceUID = generate_uid()
        files.append(folder / f"again{k:03d}.dcm")
        _save(again, files[-1], ExplicitVRLittleEndian)
    if localizer:
        _save(_localizer(affine, uids), folder / "scout.dcm", ExplicitVRLittleEndian)
    for kind in company:
        _save(_companion(kind, slices[0]), folder / f"{kind}.dcm", ExplicitVRLittleEndian)
    if dicomdir:
        write_dicomdir(folder, files)
    return files


def _turn(value: Any, k: int) -> Any:
    """One for all, or one a slice."""
    return value[k % len(value)] if isinstance(value, (list, tuple)) else value


def _step(affine: np.ndarray, k: int, positions_mm: Sequence[float] | None) -> np.ndarray:
    column = np.array(affine, float)[:3, 2]
    return column * k if positions_mm is None else column / np.linalg.norm(column) * positions_mm[k]


def _slice(
    affine: np.ndarray, origin: np.ndarray, uids: dict[str, str], number: int, modality: str, sop_class: str
) -> Dataset:
    """One slice without pixels. RAS becomes DICOM's LPS: the first two coordinates change sign."""
    lps = np.diag([-1.0, -1.0, 1.0])
    along = lps @ np.array(affine, float)[:3, :3]
    spacing = np.linalg.norm(along, axis=0)
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uids["study"], uids["series"]
    dataset.FrameOfReferenceUID = uids["frame"]
    dataset.Modality, dataset.SeriesDescription, dataset.SeriesNumber = modality, "Abdomen portal venous", 3
    dataset.PatientPosition, dataset.InstanceNumber, dataset.AcquisitionNumber = "HFS", number, 1
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    for keyword, value in PATIENT.items():
        setattr(dataset, keyword, value)
    dataset.ImageOrientationPatient = [_ds(v) for v in (*(along[:, 0] / spacing[0]), *(along[:, 1] / spacing[1]))]
    dataset.ImagePositionPatient = [_ds(v) for v in lps @ origin]
    dataset.PixelSpacing = [_ds(spacing[1]), _ds(spacing[0])]
    dataset.SliceThickness = "7"  # a lie, as it often is
    return dataset


def _ds(value: float) -> str:
    """A decimal string, 16 characters at most. Source: DICOM PS3.5, 6.2, VR DS."""
    return f"{value:.10f}"[:16]


def _set_pixels(
    dataset: Dataset, hu: np.ndarray, *, slope: float, intercept: float, signed: bool, bits: int,
    padding: int | None, monochrome1: bool,
) -> None:  # fmt: skip
    """hu: (I, J) becomes rows J by columns I; padding goes where the HU are below -1024."""
    stored = np.round((hu.T.astype(float) - intercept) / slope).astype(np.int32)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    stored = np.clip(stored, low, high)
    if padding is not None:
        stored[hu.T < -1024] = padding
        dataset.add_new("PixelPaddingValue", "SS" if signed else "US", padding)
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME1" if monochrome1 else "MONOCHROME2"
    dataset.BitsAllocated = 8 if bits <= 8 else 16
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits - 1, int(signed)
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = slope, intercept, "HU"
    dataset.PixelData = stored.astype(np.uint8 if bits <= 8 else "<i2" if signed else "<u2").tobytes()
    dataset["PixelData"].VR = "OB" if bits <= 8 else "OW"


def _save(dataset: Dataset, path: Path, transfer_syntax: str, lossy: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_bytes(dataset, transfer_syntax, lossy))


def _bytes(dataset: Dataset, transfer_syntax: str, lossy: bool = False) -> bytes:
    """The file: encoded by pydicom's plugins, by Pillow (baseline) or by `phantom_jpeg`."""
    syntax = pydicom.uid.UID(transfer_syntax)
    out = copy.deepcopy(dataset)
    out.file_meta = FileMetaDataset()
    out.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    out.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    out.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    if syntax in (JPEGLosslessSV1, JPEGBaseline8Bit, HTJ2KLossless):
        pixels = np.frombuffer(out.PixelData, np.uint8 if out.BitsAllocated == 8 else "<u2")
        frames = pixels.reshape(-1, out.Rows, out.Columns)
        encode = {JPEGLosslessSV1: jpeg_lossless, JPEGBaseline8Bit: jpeg_baseline, HTJ2KLossless: htj2k}[syntax]
        out.PixelData = encapsulate([encode(frame) for frame in frames])
        out["PixelData"].VR, out["PixelData"].is_undefined_length = "OB", True
        out.file_meta.TransferSyntaxUID = syntax
    elif syntax.is_encapsulated:
        loss = {JPEG2000: {"j2k_psnr": [95]}, JPEGLSNearLossless: {"jls_error": 2}}[syntax] if lossy else {}
        out.compress(syntax, generate_instance_uid=False, **loss)
    elif syntax == ExplicitVRBigEndian:
        out.PixelData = np.frombuffer(out.PixelData, "<u2").astype(">u2").tobytes()
        out.file_meta.TransferSyntaxUID = syntax
    else:
        out.file_meta.TransferSyntaxUID = syntax
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, out, enforce_file_format=True)
    return stream.getvalue()


def _multiframe(slices: list[Dataset], sop_class: str) -> Dataset:
    """One Enhanced (or legacy-converted) CT of all slices. Source: DICOM PS3.3, C.7.6.16 and C.8.15."""
    out = copy.deepcopy(slices[0])
    out.SOPClassUID, out.SOPInstanceUID, out.NumberOfFrames = sop_class, generate_uid(), len(slices)
    out.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    frames = []
    for dataset in slices:
        place, plane, measures, values, kind = Dataset(), Dataset(), Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = dataset.ImagePositionPatient
        plane.ImageOrientationPatient = dataset.ImageOrientationPatient
        measures.PixelSpacing, measures.SliceThickness = dataset.PixelSpacing, dataset.SliceThickness
        values.RescaleSlope, values.RescaleIntercept = dataset.RescaleSlope, dataset.RescaleIntercept
        values.RescaleType = "HU"
        kind.FrameType = out.ImageType
        frame = Dataset()
        frame.PlanePositionSequence, frame.PixelMeasuresSequence = Items([place]), Items([measures])
        frame.PixelValueTransformationSequence, frame.PlaneOrientationSequence = Items([values]), Items([plane])
        frame.CTImageFrameTypeSequence = Items([kind])
        frames.append(frame)
    shared = Dataset()
    shared.PlaneOrientationSequence = frames[0].PlaneOrientationSequence
    out.SharedFunctionalGroupsSequence = Items([shared])
    for frame in frames:
        del frame.PlaneOrientationSequence
    out.PerFrameFunctionalGroupsSequence = Items(frames)
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness",
                    "RescaleSlope", "RescaleIntercept", "RescaleType"):  # fmt: skip
        delattr(out, keyword)
    out.PixelData = b"".join(dataset.PixelData for dataset in slices)
    out["PixelData"].VR = "OW"
    return out


def _localizer(affine: np.ndarray, uids: dict[str, str]) -> Dataset:
    """A sagittal scout in a series of its own."""
    scout = _slice(np.array([[0, 0, 1.0, 0], [1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]]), np.zeros(3),
                   uids | {"series": generate_uid()}, 1, "CT", CT)  # fmt: skip
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    _set_pixels(scout, np.zeros((20, 24), np.int16), slope=1, intercept=-1024, signed=False, bits=16, padding=None,
                monochrome1=False)  # fmt: skip
    return scout


def _companion(kind: str, dataset: Dataset) -> Dataset:
    other = copy.deepcopy(dataset)
    other.Modality, other.SOPClassUID = COMPANY[kind]
    other.SeriesInstanceUID, other.SOPInstanceUID = generate_uid(), generate_uid()
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient"):
        if kind not in ("pet", "mr"):
            delattr(other, keyword)
    if kind in ("rtstruct", "dose_report"):
        del other.PixelData
    return other


def write_dicomdir(folder: Path, files: list[Path]) -> None:
    """A DICOMDIR that names `files`, whatever they are called. Source: DICOM PS3.3, F."""
    records = []
    for path in files:
        record = Dataset()
        record.DirectoryRecordType, record.RecordInUseFlag = "IMAGE", 0xFFFF
        record.OffsetOfTheNextDirectoryRecord = record.OffsetOfReferencedLowerLevelDirectoryEntity = 0
        record.ReferencedFileID = list(path.relative_to(folder).parts)
        records.append(record)
    directory = Dataset()
    directory.FileSetID, directory.FileSetConsistencyFlag = "PHANTOM", 0
    directory.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity = 0
    directory.OffsetOfTheLastDirectoryRecordOfTheRootDirectoryEntity = 0
    directory.DirectoryRecordSequence = Items(records)
    directory.file_meta = FileMetaDataset()
    directory.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    directory.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    directory.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    pydicom.dcmwrite(folder / "DICOMDIR", directory, enforce_file_format=True)


def labelled_series(
    folder: Path, labels: np.ndarray, affine: np.ndarray, organs: dict[int, str], **variations: Any
) -> tuple[Volume, Labelmap]:
    """A series as it is read, and labels on it that were drawn (I, J, K) in the series' own pixels."""
    write_series(folder, body(labels.shape), affine, **variations)
    volume = read_scan(folder)
    index = np.linalg.inv(affine) @ volume.geometry.affine
    points = np.stack(np.meshgrid(*map(np.arange, volume.geometry.shape), indexing="ij"), axis=-1)
    i, j, k = np.moveaxis(np.rint(points @ index[:3, :3].T + index[:3, 3]).astype(int), -1, 0)
    return volume, Labelmap(labels[i, j, k], volume.geometry, volume.stored, organs)


def stored_array(volume: Volume) -> np.ndarray:
    """The voxels in the axes of the file: columns, rows, slices from feet to head."""
    return volume.stored.from_canonical(volume.voxels)
