"""The cases of a call: each scan once, under a name of its own, and where its results go."""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from abdoseg.cohort.find_scans import find_scans
from abdoseg.cohort.found_scan import FoundScan, without_duplicates
from abdoseg.errors import UsageError
from abdoseg.io import case_name
from abdoseg.io.read import as_utf_8
from abdoseg.io.scan_source import ScanSource

LOG = logging.getLogger("abdoseg")
NOT_OURS = (".mha", ".mhd", ".nrrd", ".nhdr", ".dcm", ".stl", ".csv", ".json")


@dataclass(frozen=True)
class ScanCase:
    """One scan and where its results go. volumes, record: None when the labelmap alone is wanted.

    series: its SeriesInstanceUID, member: its name in a zip, where the path holds other scans, too.
    """

    name: str
    scan: Path
    labelmap: Path
    volumes: Path | None = None
    record: Path | None = None
    series: str | None = None
    member: str | None = None

    @property
    def source(self) -> ScanSource:
        """How the scan is read."""
        return ScanSource.one_of(self.scan, self.member, self.series)

    @classmethod
    def in_folder(cls, name: str, scan: Path, folder: Path) -> ScanCase:
        """The case whose files lie in a folder, named by the case."""
        return cls(name, scan, folder / f"{name}_seg.nii.gz", folder / f"{name}_volumes.csv", folder / f"{name}.json")

    @property
    def outputs(self) -> list[Path]:
        """Every file, the record last: when it stands, so do the others."""
        return [path for path in (self.labelmap, self.volumes, self.record) if path is not None]

    @property
    def lesions(self) -> Path | None:
        """The table of lesions, which is written when they are looked for."""
        return self.volumes and self.volumes.with_name(f"{self.name}_lesions.csv")


def plan_cases(scans: Sequence[Path | FoundScan], output: Path, all_series: bool = False) -> list[ScanCase]:
    """The cases of a call: `output` is a folder, or for a single scan the labelmap's own name.

    A folder stands for all scans below it, each of them once. Scans of one name, such as patient1/ct.nii.gz and
    patient2/ct.nii.gz, have their folders' names before it; series of one folder have their numbers behind it.
    Raises UsageError when even so two would be written under one name.
    """
    if output.name.lower().endswith(NOT_OURS) and not output.is_dir():
        raise UsageError(f"{output}: labelmaps are NIfTI; name a folder, or a .nii.gz, and export to other formats")
    if output.is_file() and not output.name.lower().endswith((".nii", ".nii.gz")):
        raise UsageError(f"{output}: a file; name a folder for the results, or a .nii.gz for one scan's labelmap")
    found = _found(scans, output, all_series)
    if output.name.lower().endswith((".nii", ".nii.gz")) and not output.is_dir():
        if len(found) != 1:
            raise UsageError(f"{output}: one labelmap for {len(found)} scans; name a folder with -o")
        scan = found[0]
        return [ScanCase(_case_name(scan), scan.path, output, series=scan.series, member=scan.member)]
    return [
        replace(ScanCase.in_folder(name, scan.path, output), series=scan.series, member=scan.member)
        for name, scan in zip(_case_names(found), found, strict=True)
    ]


def _found(scans: Sequence[Path | FoundScan], output: Path, all_series: bool) -> list[FoundScan]:
    """The scans named, each once, and those of folders, copies once. Says which copies are left out."""
    named: list[FoundScan] = []
    below: list[FoundScan] = []
    for scan in scans:
        if isinstance(scan, Path) and scan.is_dir():
            below += find_scans(scan, all_series, output)
        else:
            named += find_scans(scan, all_series) if isinstance(scan, Path) else [scan]
    known: set[object] = set()
    named, below = _not_in(known, named), _not_in(known, below)
    repeated: list[tuple[FoundScan, FoundScan]] = []
    if len(below) > 1:
        below, repeated = without_duplicates(below)
    for scan, other in repeated:
        LOG.warning("%s: the same scan as %s; it is done once", scan.place, other.place)
    return named + below


def _not_in(known: set[object], scans: Sequence[FoundScan]) -> list[FoundScan]:
    """The scans that are not known by where they lie, each once. They are known from then on."""
    new = []
    for scan in scans:
        place = scan.path.resolve(), scan.member, scan.series
        if place not in known:
            known.add(place)
            new.append(scan)
    return new


def _case_name(scan: FoundScan) -> str:
    return scan.case or case_name(scan.place)


def _case_names(scans: Sequence[FoundScan]) -> list[str]:
    """A name for each scan: its own, or for those of one name as many folders before it as tell them apart.

    Where a name with folders is another's without, it has one more. Series of one folder have their numbers behind it
    and, where these are equal or lacking, a digest of their UIDs.
    """
    names = [_case_name(scan) for scan in scans]
    places = [scan.place.absolute() for scan in scans]
    folders = [[part for part in place.parts[1:-1] if part != ".."] for place in places]
    taken = [0] * len(scans)  # folders before each name
    while movable := [number for number in _repeated(names, places) if folders[number] and not scans[number].case]:
        most: dict[str, int] = defaultdict(int)
        for number in movable:
            most[names[number]] = max(most[names[number]], taken[number])
        for number in [number for number in movable if taken[number] == most[names[number]]]:
            names[number] = f"{as_utf_8(folders[number].pop())}_{names[number]}"
            taken[number] += 1
    for numbered in (_series_number, _uid_digest):
        for number in _repeated(names):
            names[number] += numbered(scans[number])
    if again := _repeated(names):
        one, other = (scans[number] for number in again[:2])
        raise UsageError(
            f"{one.place} and {other.place} would both be written as {_case_name(one)}; rename one, or call twice"
        )
    return names


def _repeated(names: Sequence[str], places: Sequence[Path] | None = None) -> list[int]:
    """Which names others have, too; with places, only those that others have in another place."""
    holders: dict[str, set[object]] = defaultdict(set)
    for number, name in enumerate(names):
        holders[name].add(places[number] if places else number)
    return [number for number, name in enumerate(names) if len(holders[name]) > 1]


def _series_number(scan: FoundScan) -> str:
    return f"_s{scan.series_number}" if scan.series_number else ""


def _uid_digest(scan: FoundScan) -> str:
    return f"_{hashlib.sha256(scan.series_uid.encode()).hexdigest()[:8]}" if scan.series_uid else ""


def sharded(cases: Sequence[ScanCase], shard: str) -> list[ScanCase]:
    """Every n-th case from the i-th on, for "i/n", counted from 1. Raises UsageError."""
    try:
        index, count = (int(part) for part in shard.split("/"))
    except ValueError:
        index = count = 0
    if not 1 <= index <= count:
        raise UsageError(f"--shard {shard}: give i/n, with i from 1 to n, such as 3/8")
    return list(cases[index - 1 :: count])
