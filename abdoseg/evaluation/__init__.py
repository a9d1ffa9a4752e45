"""Evaluation of predictions against ground truth: pairs of files, scores, summaries, reports."""

from abdoseg.evaluation.evaluate import Evaluation, ReadOptions, evaluate
from abdoseg.evaluation.pairs import Pair, Pairing, find_pairs
from abdoseg.evaluation.score import EvaluationOptions, Score

__all__ = ["Evaluation", "EvaluationOptions", "Pair", "Pairing", "ReadOptions", "Score", "evaluate", "find_pairs"]
