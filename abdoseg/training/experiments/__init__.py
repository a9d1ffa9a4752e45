"""Whole runs: cross-validation, learning curves, model card, curves, TensorBoard."""
