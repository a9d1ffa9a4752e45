"""Training: from labelled scans to weights."""
