"""Organ volumes as CSV: one case, or a cohort as a long and a wide table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from abdoseg.exporters.job import Job
from abdoseg.image.volumetry import COLUMNS, OrganVolume, cell, cells, write_volumes
from abdoseg.quality.assess import columns, recorded_quality
from abdoseg.runtime.files import write_csv


def write(job: Job, target: Path) -> None:
    """One row an organ, in the columns of `segment`'s table; its quality where the run's record holds it."""
    quality = recorded_quality(job.record)
    write_volumes(job.rows, target, columns(quality) if quality else None)


def write_long(cohort: Mapping[str, Sequence[OrganVolume]], target: Path) -> None:
    """One row a case and organ."""
    write_csv(target, ["case", *COLUMNS], ([case, *cells(row)] for case, rows in cohort.items() for row in rows))


def write_wide(cohort: Mapping[str, Sequence[OrganVolume]], target: Path) -> None:
    """One row a case; for each organ its volume, mean HU and completeness. Organs not looked for are empty."""
    labels = {row.organ: row.label for rows in cohort.values() for row in rows}
    organs = sorted(labels, key=lambda organ: (labels[organ], organ))
    measures = ("volume_ml", "mean_hu", "complete")
    header = ["case", *(f"{organ}_{measure}" for organ in organs for measure in measures)]
    found = {case: {row.organ: row for row in rows} for case, rows in cohort.items()}
    write_csv(
        target,
        header,
        ([case, *(cell(getattr(of.get(o), m, None)) for o in organs for m in measures)] for case, of in found.items()),
    )
