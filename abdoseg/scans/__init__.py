"""Reading scans: DICOM, NIfTI and what SimpleITK reads, to a Volume in HU with canonical axes."""
