"""A scan on disk and how it is read: a path, a member of a zip, one series of several."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from abdoseg.image.volume import Stored, Volume
from abdoseg.io.archive import extracted
from abdoseg.io.formats import format_of
from abdoseg.io.read import read_grid, read_scan


@dataclass(frozen=True)
class ScanSource:
    """A scan on disk and how it is read. member: the file in a zip. reading: further arguments of `read_scan`."""

    path: Path
    member: str | None = None
    reading: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def one_of(cls, path: Path, member: str | None, series: str | None) -> ScanSource:
        """A scan of a path that may hold several, by its SeriesInstanceUID where that is given."""
        return cls(path, member, {"series": series} if series else {})

    @property
    def is_dicom(self) -> bool:
        """Whether DICOM outputs can lie on it."""
        return self.member is None and format_of(self.path) == "DICOM"

    def read(self, **reading: Any) -> Volume:
        """The scan's volume. reading: arguments of `read_scan` that the source has none of. Raises what that raises."""
        with extracted(self.path, self.member) as path:
            return read_scan(path, **{**reading, **self.reading})

    def grid(self, **reading: Any) -> Stored:
        """The scan's grid, by its headers. reading: as for `read`. Raises what `read_scan` raises."""
        with extracted(self.path, self.member) as path:
            return read_grid(path, **{**reading, **self.reading})
