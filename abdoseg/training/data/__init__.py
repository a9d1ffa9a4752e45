"""Datasets to arrays: layouts, preprocessing, cache, splits."""
