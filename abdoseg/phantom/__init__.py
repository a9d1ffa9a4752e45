"""A procedural abdomen: a CT with exact labels, made from a seed and no data; a head and legs, without labels."""

from abdoseg.phantom.scan import phantom, phantom_tissues

__all__ = ["phantom", "phantom_tissues"]
