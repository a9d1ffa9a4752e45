"""From labelled scans to weights."""
