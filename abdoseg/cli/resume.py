"""Resuming a batch: what a run requests of its cases is kept in the ledger, and cases that meet it are passed over."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from abdoseg.cli.case_facts import case_facts, recorded_result
from abdoseg.cli.console import Talk
from abdoseg.errors import OvertakenError, UsageError
from abdoseg.runtime.ledger import Ledger, relative

if TYPE_CHECKING:
    from abdoseg.batch import CaseResult
    from abdoseg.cohort.scan_cases import ScanCase


@dataclass(frozen=True)
class RunRequest:
    """What a run requests of each case. options: what changes a labelmap, JSON-able. formats: exports beside it."""

    options: dict[str, Any]
    formats: Sequence[str]

    def unfinished(self, cases: Sequence[ScanCase], ledger: Ledger, talk: Talk, as_json: bool) -> list[ScanCase]:
        """The cases still to be done, or to be done again since something else was asked for; tells the others' files.

        Raises UsageError where the ledger's case is another scan.
        """
        finished, left, again = ledger.done(), [], 0
        for case in cases:
            line = finished.get(case.name)
            if line and self._met_by(line, case, ledger.folder):
                outputs = [ledger.folder / name for name in line["outputs"]]
                facts = json.dumps(case_facts(recorded_result(case, outputs))) if as_json else ""
                click.echo(facts or "\n".join(map(str, outputs)))
                continue
            left.append(case)
            again += line is not None
        talk.say(f"{len(cases) - len(left)} of {len(cases)} cases are done already")
        if again:
            talk.say(f"{again} were done with other options, and are done again")
        return left

    def _met_by(self, line: dict[str, Any], case: ScanCase, folder: Path) -> bool:
        """Whether a case was done so; a ledger of before these facts were kept is believed."""
        before, scan = line.get("request", line.get("asked", {})), _source_digest(case)
        if before.get("scan", scan) != scan:
            raise UsageError(
                f"{case.scan}: {folder} holds results of another scan as {case.name}; name another folder with -o"
            )
        same = all(before.get(name, value) == value for name, value in self.options.items())
        return same and set(self.formats) <= set(line.get("formats", self.formats))

    def note(self, result: CaseResult, ledger: Ledger) -> None:
        """Tells the ledger how a case ended, unless another run did it. Raises OutputError."""
        case = result.case
        if isinstance(result.error, OvertakenError):
            return
        ledger.add(
            case.name,
            result.written,
            result.error,
            scan=relative(case.scan, ledger.folder),
            seconds=round(result.seconds, 3),
            model=result.record.get("model", {}).get("digest"),
            request=self.options | {"scan": _source_digest(case)},
            formats=self.formats,
        )


def _source_digest(case: ScanCase) -> str:
    """A scan's own place, whatever way leads to it: a digest, since the place may say more than a ledger should."""
    place = "\0".join(filter(None, [str(case.scan.resolve()), case.member, case.series]))
    return hashlib.sha256(os.fsencode(place)).hexdigest()[:16]
