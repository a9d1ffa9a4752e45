"""Voxels on grids in millimetres: geometry, resampling, components, volumetry, meshes. Numpy and scipy only."""
