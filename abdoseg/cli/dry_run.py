"""Dry runs of segment: the cases that a run would do, as a table that `--from` reads, with expected time and memory."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from abdoseg.cli.console import Talk, duration

if TYPE_CHECKING:
    from abdoseg.cohort.scan_cases import ScanCase
    from abdoseg.model.weights import Model

COLUMNS = ("path", "case", "series", "member", "shape", "seconds", "gb")


def list_cases(cases: Sequence[ScanCase], load: Callable[[], Model], reading: dict[str, Any], talk: Talk) -> int:
    """Prints the cases on stdout and what they will take on stderr. Returns the exit code: 0, or 3 for unreadable ones.

    A case whose grid cannot be read has no shape, and its error is said; voxels are not read.
    """
    from abdoseg.errors import AbdosegError, ScanError
    from abdoseg.inference.backend import precision_name
    from abdoseg.inference.network_grid import network_grid
    from abdoseg.inference.resources import START_SECONDS, expected_bytes, expected_seconds
    from abdoseg.io.limits import check_extent

    model = load()
    dtype, models = precision_name(model), len(model.parts)
    total_s, most_bytes, failed = START_SECONDS, 0, 0
    writer = csv.writer(sys.stdout, delimiter="\t", lineterminator="\n")
    writer.writerow(COLUMNS)
    for case in talk.track(cases, "looking"):
        shape, needs = "", ("", "")
        try:
            geometry = case.source.grid(**reading).geometry
            check_extent(str(case.scan), geometry)
            grid = network_grid(geometry, model.plan)
            seconds = expected_seconds(geometry, grid, dtype, models) - START_SECONDS
            size = expected_bytes(geometry, grid, dtype, models=models)
            total_s, most_bytes = total_s + seconds, max(most_bytes, size)
            shape, needs = "x".join(map(str, geometry.shape)), (f"{seconds:.1f}", f"{size / 2**30:.2f}")
        except AbdosegError as error:
            failed += 1
            talk.error(str(error))
        writer.writerow([case.scan, case.name, case.series or "", case.member or "", shape, *needs])
    talk.say(
        f"{len(cases)} cases, {failed} of which cannot be read; about {duration(total_s)} on two cores, "
        f"at most {most_bytes / 2**30:.1f} GB"
    )
    return ScanError.exit_code if failed else 0
