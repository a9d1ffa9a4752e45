"""Contact sheet export: slices in three planes as one PNG."""

from __future__ import annotations

from pathlib import Path

from abdoseg.exporters.job import Job
from abdoseg.rendering import preview


def write(job: Job, target: Path) -> None:
    """Slices through the organs in three planes; the truth in white over them when there is one."""
    preview(job.scan, job.labelmap, job.truth, job.options.slice_style, job.rows).save(target, "PNG")
