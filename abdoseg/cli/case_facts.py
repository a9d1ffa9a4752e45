"""Case results as JSON, for `segment --json`: of a case done just now, or by an earlier run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from abdoseg.batch import CaseResult
    from abdoseg.cohort.scan_cases import ScanCase


def case_facts(result: CaseResult) -> dict[str, Any]:
    """The case as JSON values. status: ok, review or failed, as in the cohort's table."""
    facts: dict[str, Any] = {"case": result.case.name, "outputs": [str(path) for path in result.written]}
    warnings = list(result.record.get("warnings", ()))
    if result.error:
        return facts | {
            "status": "failed", "error": str(result.error), "exit_code": result.error.exit_code, "warnings": warnings,
        }  # fmt: skip
    from abdoseg.io.record import needs_review

    quality = result.record.get("quality", {})
    reasons = {organ: list(found["reasons"]) for organ, found in quality.items() if found["reasons"]}
    return facts | {
        "status": "review" if needs_review(result.record) else "ok", "review": list(reasons), "reasons": reasons,
        "volumes": result.rows, "warnings": warnings, "seconds": round(result.seconds, 3),
    }  # fmt: skip


def recorded_result(case: ScanCase, written: Sequence[Path]) -> CaseResult:
    """How a case ended that an earlier run has done, from the files that it wrote; numbers to the CSV's six digits."""
    from abdoseg.batch import CaseResult
    from abdoseg.image.volumetry import read_volumes
    from abdoseg.io.record import read_record

    assert case.volumes is not None
    rows = tuple(asdict(row) | {"complete": row.complete} for row in read_volumes(case.volumes))
    return CaseResult(case, tuple(written), read_record(case.labelmap), rows)
