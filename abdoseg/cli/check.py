"""abdoseg check: a verdict on scans before the work, worst first."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from abdoseg.cli import options
from abdoseg.cli.console import Talk

if TYPE_CHECKING:
    from pathlib import Path

    from abdoseg.quality.scan_check import ScanReport

EXIT_CODES = {"ok": 0, "review": 4, "unusable": 5}


@click.command()
@options.paths
@options.from_file
@options.series
@options.gaps
@options.assume_axes
@options.as_json
@options.quiet
def check(
    paths: tuple[str, ...],
    from_file: str | None,
    series: str | None,
    gaps: str,
    assume_axes: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Judge scans before the work: ok, review or unusable, and why.

    Looks at the series, gaps, tilt, HU, the body that is covered, and whether the axes fit the anatomy. The worst scan
    comes first; --json prints one object a scan, in the order given. Exit code 0 when all are ok, 4 when one wants
    review, 5 when one is unusable.
    """
    from abdoseg.quality.scan_check import check_scan

    talk = Talk(quiet)
    scans = options.listed_paths(paths, from_file)
    reports: list[tuple[Path, ScanReport]] = []
    for scan in talk.track(scans, "checking"):
        report = check_scan(scan, series=series, gaps=gaps, assume_axes=assume_axes)
        reports.append((scan, report))
        if as_json:
            click.echo(json.dumps(_object(scan, report)))
    if not as_json:
        _print_table(reports)
    return max(EXIT_CODES[report.verdict] for _, report in reports)


def _object(scan: Path, report: ScanReport) -> dict[str, Any]:
    return {
        "scan": str(scan),
        "verdict": report.verdict,
        "reasons": report.reasons,
        "remarks": report.remarks,
        **report.facts,
    }


def _print_table(reports: list[tuple[Path, ScanReport]]) -> None:
    """Verdict, expected time and memory, the scan, and its reasons below it; the worst first."""
    for scan, report in sorted(reports, key=lambda row: -EXIT_CODES[row[1].verdict]):
        needs = (
            "" if not report.facts else f"{report.facts['expected_seconds']:.0f} s  {report.facts['expected_gb']} GB"
        )
        click.echo(f"{report.verdict:<9} {needs:>14}  {scan}")
        for reason in report.reasons:
            click.echo(f"{'':<10}{reason.removeprefix(f'{scan}: ')}")
        for remark in report.remarks:
            click.echo(f"{'':<10}({remark})")
    counts = {verdict: sum(report.verdict == verdict for _, report in reports) for verdict in EXIT_CODES}
    if len(reports) > 1:
        click.echo(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
