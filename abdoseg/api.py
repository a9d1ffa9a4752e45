"""The Python interface: segment a scan, evaluate predictions, compare two time points, export labels.

>>> import abdoseg
>>> from abdoseg.phantom import phantom
>>> scan, truth = phantom(seed=3, shape=(110, 90, 70), spacing_mm=(3.2, 3.2, 4.0))
>>> result = abdoseg.segment(scan)
>>> [volume.organ for volume in result.volumes]
['liver', 'kidney_right', 'kidney_left', 'spleen']
>>> bool(result.labelmap.mask("liver").any()), result.labelmap.labels.shape
(True, (110, 90, 70))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from abdoseg.anatomy.label_schemes import Scheme, numbers_in
from abdoseg.anatomy.organs import LESION
from abdoseg.batch import BatchOptions, write_case
from abdoseg.cohort.scan_cases import ScanCase
from abdoseg.cohort.time_points import open_time_point, pair_cases
from abdoseg.errors import UsageError
from abdoseg.evaluation.changes import FollowUp
from abdoseg.evaluation.evaluate import Evaluation, ReadOptions
from abdoseg.evaluation.evaluate import evaluate as evaluate_pairs
from abdoseg.evaluation.follow import TimePoint
from abdoseg.evaluation.follow import follow as follow_up
from abdoseg.evaluation.grids import Method
from abdoseg.evaluation.pairs import find_pairs
from abdoseg.exporters import EXPORTERS
from abdoseg.exporters.job import ExportOptions, Job
from abdoseg.exporters.job import export as export_job
from abdoseg.exporters.open_case import CaseFiles, open_case
from abdoseg.image.volume import Labelmap, Volume
from abdoseg.image.volumetry import OrganVolume
from abdoseg.io import case_name, read_scan
from abdoseg.io.in_memory import is_nibabel, is_sitk, volume_from_nibabel, volume_from_sitk
from abdoseg.io.nifti.writer import nifti_header
from abdoseg.model.weights import Model, load_model
from abdoseg.quality import Quality
from abdoseg.runtime.files import ensure_absent, ensure_writable
from abdoseg.segmentation import Segmentation
from abdoseg.segmentation import segment as segment_volume


@dataclass(frozen=True, eq=False)
class Result:
    """A scan with its organs: labels, volumes, quality, and how they came to be."""

    scan: Volume = field(repr=False)
    segmentation: Segmentation = field(repr=False)
    name: str = "scan"
    path: Path | None = None

    @property
    def labelmap(self) -> Labelmap:
        """The labels, canonical axes; `labelmap.mask("liver")` is one organ."""
        return self.segmentation.labelmap

    @property
    def volumes(self) -> list[OrganVolume]:
        """One row for each organ that was looked for: ml, mean HU, whether the scan's border cuts it."""
        return self.segmentation.rows

    @property
    def quality(self) -> dict[str, Quality]:
        """By organ: confidence, and the reasons why a person should look."""
        return self.segmentation.quality

    @property
    def warnings(self) -> list[str]:
        """What a person should look at, a sentence each."""
        return self.segmentation.warnings

    @property
    def record(self) -> dict[str, Any]:
        """The run's record, as `CASE.json` has it."""
        return self.segmentation.record.to_dict()

    @property
    def time_point(self) -> TimePoint:
        """What `follow` compares."""
        lesions = self.segmentation.lesions.get(LESION)
        return TimePoint(self.name, self.labelmap, tuple(self.volumes), lesions, self.scan)

    def save(self, folder: str | Path, *, labels: str = "abdoseg", overwrite: bool = False) -> list[Path]:
        """Writes what `abdoseg segment` writes: labelmap, CSV of volumes, record.

        Args:
            folder: made when missing.
            labels: scheme of the numbers written.
            overwrite: replace files that exist.

        Returns:
            The paths, the record last.

        Raises:
            UsageError: the scheme is not known, or has no number for an organ.
            OutputError: a file exists, or the folder takes none.
        """
        folder, numbers = _path(folder, "folder"), numbers_in(labels)
        if unnumbered := [row.organ for row in self.volumes if row.organ not in numbers]:
            raise UsageError(f"the label scheme {labels} has no number for {', '.join(unnumbered)}; name another")
        case = ScanCase.in_folder(self.name, self.path or Path(), folder)
        tables = [case.lesions] if case.lesions and self.segmentation.lesions else []
        ensure_absent([*case.outputs, *tables], overwrite)
        ensure_writable(folder)
        options = BatchOptions(scheme=labels, overwrite=overwrite)
        return list(write_case(case, self.segmentation, options, from_file=self.path is not None).written)

    def to_nibabel(self) -> Any:
        """The labels as a nibabel image on the scan's own axes, with the header that `save` writes."""
        import nibabel

        stored = self.labelmap.stored
        labels = np.asfortranarray(stored.from_canonical(self.labelmap.labels))
        record = nifti_header(labels.dtype, stored)
        kinds = {348: (nibabel.Nifti1Header, nibabel.Nifti1Image), 540: (nibabel.Nifti2Header, nibabel.Nifti2Image)}
        header, image = kinds[int(record["sizeof_hdr"])]
        return image(labels, stored.geometry.affine, header(record.tobytes(), check=False))


def segment(
    scan: Any, *, model: str | Path | Model | None = None, device: str = "auto", organs: Sequence[str] | None = None
) -> Result:
    """Segments the abdominal organs of a CT.

    Args:
        scan: a path (NIfTI, DICOM folder or zip, .mha, .nrrd), a nibabel image, a SimpleITK image, or a Volume.
        model: a weights file, a bundled model's name, or one that `abdoseg.load_model` loaded, which saves time from
            the second scan on.
        device: auto, cpu, cuda, cuda:N or mps.
        organs: names, of those that the model knows; liver, kidneys and spleen if not given.

    Returns:
        The labels on the scan's own grid, with volumes, quality and record.

    Raises:
        TypeError: `scan` is none of these, or `organs` no list.
        ScanError: the scan cannot be read, or is not in HU.
        ModelError: the weights cannot be used, or do not know an organ.
        UsageError: `organs` is empty.
    """
    _check_list(organs, "organs")
    if organs is not None and not len(organs):
        raise UsageError("organs is empty; name at least one, or leave it out")
    path = Path(scan) if isinstance(scan, str | Path) else None
    volume = _volume(scan)
    loaded = model if isinstance(model, Model) else load_model(model, device)
    found = segment_volume(volume, loaded, organs=organs)
    return Result(volume, found, case_name(path) if path else "scan", path)


def evaluate(
    predictions: str | Path,
    truths: str | Path,
    *,
    prediction_labels: str | Scheme = "abdoseg",
    truth_labels: str | Scheme = "abdoseg",
    resample: Method | None = None,
    organs: Sequence[str] | None = None,
) -> Evaluation:
    """Scores predictions against ground truth: two label files, or two folders of them.

    Args:
        predictions: a file or a folder.
        truths: likewise; they give the list, and a case without a prediction counts as nothing found.
        prediction_labels: scheme of the predictions' numbers, a name or a dict of number to organ.
        truth_labels: of the truths'.
        resample: nearest or linear, for predictions on another grid; refused when not given.
        organs: which; by default the four main ones and all others that both sides hold.

    Raises:
        TypeError: a path is none, or `organs` no list.
        DatasetError: a path is missing or holds no label file.
        GeometryError: grids differ.
    """
    _check_list(organs, "organs")
    pairing = find_pairs(_path(predictions, "predictions"), _path(truths, "truths"))
    reading = ReadOptions(truth_scheme=truth_labels, prediction_scheme=prediction_labels, resample=resample)
    return evaluate_pairs(pairing, reading=reading, organs=organs)


def follow(before: str | Path | Result, after: str | Path | Result, *, labels: str | None = None) -> list[FollowUp]:
    """Compares two time points: organs' volumes, and liver lesions matched after a registration of the liver.

    Args:
        before: a labelmap, or a folder that `save` or `abdoseg segment` wrote.
        after: likewise; of folders, cases of the same name are compared. Or both are Results.
        labels: scheme of the numbers in label files; as their records say if not given.

    Returns:
        One for each case. Their `warnings` say where lesions are not matched, or may be matched wrongly.

    Raises:
        TypeError: a path is none.
        DatasetError: a path is missing, no case is in both, or a scan shows no liver.
    """
    if isinstance(before, Result) and isinstance(after, Result):
        return [follow_up(before.name, before.time_point, after.time_point)]
    pairs, _ = pair_cases(_path(before, "before", "two Results or "), _path(after, "after", "two Results or "))
    files = CaseFiles(labels, several=len(pairs) > 1)
    return [
        follow_up(pair.case, open_time_point(pair.before, files), open_time_point(pair.after, files)) for pair in pairs
    ]


def export(
    labels: str | Path | Result,
    folder: str | Path,
    formats: Sequence[str],
    *,
    scan: str | Path | None = None,
    reference: str | Path | None = None,
    overwrite: bool = False,
    options: ExportOptions | None = None,
) -> list[Path]:
    """Exports labels to meshes, tables, pictures, videos, DICOM.

    Args:
        labels: a Result, or the path of a labelmap; its scan and scheme are found through the record beside it.
        folder: where the files go; made when missing.
        formats: such as "stl", "csv", "video", "dicom-seg"; `abdoseg export --help` lists them.
        scan: the labelmap's scan, where no record tells.
        reference: the DICOM series that was segmented, for DICOM outputs.
        overwrite: replace files that exist.
        options: how exports look.

    Returns:
        The paths written.

    Raises:
        TypeError: `labels` is neither, or `formats` no list.
        UsageError: a format is not known, or DICOM is asked for without a series.
        OutputError: a file exists.
    """
    _check_list(formats, "formats")
    options = options or ExportOptions()
    if unknown := [name for name in formats if name not in EXPORTERS]:
        raise UsageError(f"no format {', '.join(unknown)}; there are {', '.join(EXPORTERS)}")
    if isinstance(labels, Result):
        job = Job(
            labels.name,
            labels.labelmap,
            tuple(labels.volumes),
            labels.scan,
            reference=_optional(reference),
            record=labels.record,
            options=options,
            lesions=labels.segmentation.lesions.get(LESION),
        )
    else:
        files = CaseFiles(
            scan=None if scan is None else Path(scan), reference=None if reference is None else Path(reference)
        )
        job = open_case(_path(labels, "labels", "a Result or "), files, formats, options)
    return list(export_job(job, _path(folder, "folder"), formats, overwrite=overwrite))


def _volume(scan: Any) -> Volume:
    if isinstance(scan, Volume):
        return scan
    if isinstance(scan, str | Path):
        return read_scan(scan)
    if is_nibabel(scan):
        return volume_from_nibabel(scan)
    if is_sitk(scan):
        return volume_from_sitk(scan)
    raise TypeError(
        f"scan is {_kind(scan)}; a path, a nibabel image, a SimpleITK image or an abdoseg Volume is taken "
        "(an array alone does not say where its voxels lie)"
    )


def _path(value: Any, name: str, others: str = "") -> Path:
    if not isinstance(value, str | Path):
        raise TypeError(f"{name} is {_kind(value)}; {others}a path is taken")
    return Path(value)


def _check_list(names: Sequence[str] | None, name: str) -> None:
    """Raises TypeError for one string, whose letters would be taken for names."""
    if isinstance(names, str):
        raise TypeError(f"{name} is one string; a list is taken, such as [{names!r}]")


def _optional(path: str | Path | None) -> Path | None:
    return None if path is None else Path(path)


def _kind(value: Any) -> str:
    return f"of type {type(value).__module__}.{type(value).__qualname__}"
