"""Time points: the cases of two folders of results, before and after, paired by name and opened."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from abdoseg.anatomy.organs import BY_NAME, LESION
from abdoseg.errors import DatasetError
from abdoseg.evaluation.follow import TimePoint
from abdoseg.evaluation.pairs import by_case, first_names, label_files
from abdoseg.exporters.job import ExportOptions, Job
from abdoseg.exporters.open_case import CaseFiles, open_case
from abdoseg.io.record import recorded_labelmaps


@dataclass(frozen=True)
class CasePair:
    """One patient's labelmaps."""

    case: str
    before: Path
    after: Path


def pair_cases(before: Path, after: Path) -> tuple[list[CasePair], list[str]]:
    """The cases that two places have in common, and sentences on those that only one has.

    A place is a folder of results, a record, or any labelmap or folder of labelmaps. Where each holds one case, they
    are a pair whatever they are called.

    Raises:
        DatasetError: a place is missing or holds no labelmap, or none has the same name in both.
    """
    sides = [_labelmaps(place) for place in (before, after)]
    if all(len(side) == 1 for side in sides):
        ((case, first),), ((other, second),) = (side.items() for side in sides)
        return [CasePair(case if case == other else f"{case} and {other}", first, second)], []
    pairs = [CasePair(case, path, sides[1][case]) for case, path in sides[0].items() if case in sides[1]]
    if not pairs:
        raise DatasetError(
            f"no case of {before} ({first_names(list(sides[0]))}) has a name that is in {after} "
            f"({first_names(list(sides[1]))}); of a patient with two names, name the two labelmaps"
        )
    alone = [
        f"{first_names(missing)}: only {when}, not compared"
        for when, side, other in (("before", *sides), ("after", *sides[::-1]))
        if (missing := [case for case in side if case not in other])
    ]
    return pairs, alone


def open_time_point(labelmap: Path, files: CaseFiles, *, with_scan: bool = False, searched: bool = False) -> TimePoint:
    """A labelmap measured, with its scan where that is wanted and there.

    searched: for lesions, whatever its record says and although it may show none. Raises ScanError, GeometryError when
    the scan lies on another grid, UsageError.
    """
    job = open_case(labelmap, files, ("report",) if with_scan else (), ExportOptions())
    if searched and LESION not in job.labelmap.organs.values():
        organs = job.labelmap.organs | {BY_NAME[LESION].label: LESION}
        job = Job.measured(job.case, replace(job.labelmap, organs=organs), job.scan)
    job = job.with_lesions()
    known = LESION in job.labelmap.organs.values()
    return TimePoint(job.case, job.labelmap, job.rows, job.lesions if known else None, job.scan)


def _labelmaps(place: Path) -> dict[str, Path]:
    """A place's labelmaps by case; in a folder of results those that `segment` wrote, and no exports beside them."""
    recorded = recorded_labelmaps(place)
    return by_case(place, recorded) if recorded != [place] else label_files(place)
