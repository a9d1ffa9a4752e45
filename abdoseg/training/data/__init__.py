"""Datasets to arrays: layouts, label schemes, preprocessing, cache, splits."""
