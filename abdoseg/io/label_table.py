"""Organ names in a label file's own header: a NIfTI extension's label table, or the segments of a .seg.nrrd.

TotalSegmentator and Connectome Workbench write the former, 3D Slicer the latter.
"""

from __future__ import annotations

import re
from pathlib import Path

from abdoseg.anatomy.label_schemes import KNOWN_NAMES, Scheme
from abdoseg.errors import ScanError
from abdoseg.io.dicom.organ_codes import NOTHING, name_segments
from abdoseg.io.nifti.reader import is_nifti, parse_header
from abdoseg.io.nrrd import is_nrrd
from abdoseg.io.text_header import split_fields
from abdoseg.runtime.gzip_stream import OpenedFile, open_decompressed

MAX_BYTES = 2**20  # of extensions that are looked at
LABEL = re.compile(r'<Label\s[^>]*?\bKey="(\d{1,5})"[^>]*>\s*(?:<!\[CDATA\[)?([^<\]]*)')
SEGMENT = re.compile(r"segment(\d+)_labelvalue")  # as `split_fields` spells keys


def header_scheme(path: Path) -> Scheme:
    """What a label file's header says its numbers mean; empty where it names no organ of ours, or cannot be read."""
    if not path.is_file():
        return {}
    try:
        with open_decompressed(path) as file:
            names = _in_nifti(file) if is_nifti(file.head) else _in_nrrd(file) if is_nrrd(file.head) else {}
    except ScanError:  # told where the labels are read
        return {}
    scheme = name_segments({number: (name, None, None) for number, name in names.items() if number}, NOTHING)
    return scheme if KNOWN_NAMES & set(scheme.values()) else {}


def _in_nifti(file: OpenedFile) -> dict[int, str]:
    """The <Label Key="1">liver</Label> between the header and the voxels, whatever the extension's code."""
    header, kind = parse_header(file.path, file.head)
    size = MAX_BYTES if kind == "pair" else int(min(max(float(header["vox_offset"]), 0), MAX_BYTES))
    text = file.stream.read(size)[int(header["sizeof_hdr"]) :].decode("utf-8", "replace")
    return {int(number): name.strip() for number, name in LABEL.findall(text)}


def _in_nrrd(file: OpenedFile) -> dict[int, str]:
    fields, _ = split_fields(file, ":", last_key="")
    found = [(key, match[1]) for key in fields if (match := SEGMENT.fullmatch(key))]
    return {
        int(fields[key]): fields.get(f"segment{segment}_name", "") for key, segment in found if fields[key].isdecimal()
    }
