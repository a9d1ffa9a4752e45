"""DICOM series: headers, series, slice stacks, pixels in HU."""
