"""Experiments: runs, cross-validation, learning curves, comparison of recipes, model card, curves, TensorBoard."""
