"""Rotations about an axis, for grids that lie obliquely."""

import numpy as np


def rotation(axis, degrees):
    """(3, 3) anticlockwise about an axis, the two others in their order."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = np.eye(3)
    i, j = [a for a in range(3) if a != axis]
    matrix[[i, i, j, j], [i, j, i, j]] = c, -s, s, c
    return matrix
