"""NIfTI-1 and NIfTI-2: header, orientation, reader, writer."""
