"""NIfTI-1 and NIfTI-2 files, read and written."""
