"""A procedural abdomen: a CT with exact labels, made from a seed and no data."""

from abdoseg.phantom.scan import phantom

__all__ = ["phantom"]
