"""Scans in and labelmaps out, whatever a hospital exports: NIfTI, DICOM, .mha, .nrrd."""

from abdoseg.scans.labels import read_labels
from abdoseg.scans.read import case_name, read_scan
from abdoseg.scans.write import write_nifti

__all__ = ["case_name", "read_labels", "read_scan", "write_nifti"]
