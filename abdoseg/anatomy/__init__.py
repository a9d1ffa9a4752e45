"""Anatomy: organs and their codes, label schemes of datasets, tissues, reference ranges."""
