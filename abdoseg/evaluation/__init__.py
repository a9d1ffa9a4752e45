"""Predictions against truths, case by case: pairs, scores, summaries, reports."""

from abdoseg.evaluation.evaluate import Evaluation, Reading, evaluate
from abdoseg.evaluation.pairs import Pair, Pairing, find_pairs
from abdoseg.evaluation.score import Score, Settings

__all__ = ["Evaluation", "Pair", "Pairing", "Reading", "Score", "Settings", "evaluate", "find_pairs"]
