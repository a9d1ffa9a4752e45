"""Experiments: a training with its outputs, cross-validation, learning curves, model card, curves, TensorBoard."""
