"""Organ volumes as CSV: one case, or a cohort as a long and a wide table."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from abdoseg.exporters.job import Job
from abdoseg.image.volumetry import COLUMNS, OrganVolume, cell, cells, write_csv
from abdoseg.quality.assess import columns, recorded_quality


def write(job: Job, target: Path) -> None:
    """One row an organ, in the columns of `segment`'s table; its quality where the run's record holds it."""
    quality = recorded_quality(job.record)
    write_csv(job.rows, target, columns(quality) if quality else None)


def write_long(cohort: Mapping[str, Sequence[OrganVolume]], target: Path) -> None:
    """One row a case and organ."""
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["case", *COLUMNS])
        for case, rows in cohort.items():
            writer.writerows([case, *cells(row)] for row in rows)


def write_wide(cohort: Mapping[str, Sequence[OrganVolume]], target: Path) -> None:
    """One row a case; for each organ its volume, mean HU and completeness. Organs not looked for are empty."""
    labels = {row.organ: row.label for rows in cohort.values() for row in rows}
    organs = sorted(labels, key=lambda organ: (labels[organ], organ))
    measures = ("volume_ml", "mean_hu", "complete")
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["case", *(f"{organ}_{measure}" for organ in organs for measure in measures)])
        for case, rows in cohort.items():
            found = {row.organ: row for row in rows}
            writer.writerow([case, *(cell(getattr(found.get(o), m, None)) for o in organs for m in measures)])
