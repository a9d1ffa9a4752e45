"""Scans in and labelmaps out: NIfTI, DICOM, MetaImage, NRRD."""

from abdoseg.io.labels import read_labels
from abdoseg.io.nifti.writer import write_nifti
from abdoseg.io.read import case_name, read_scan

__all__ = ["case_name", "read_labels", "read_scan", "write_nifti"]
