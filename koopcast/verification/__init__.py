"""Verification: models, analyses and baselines beside the truth."""

from koopcast.verification.analyses import AnalysisFields
from koopcast.verification.eigenfunctions import eigenfunctions
from koopcast.verification.evaluate import Evaluation, evaluate, evaluate_maps
from koopcast.verification.pairs import Pairs, Starts
from koopcast.verification.table import ALL, score_mapping

__all__ = [
    "ALL",
    "AnalysisFields",
    "Evaluation",
    "Pairs",
    "Starts",
    "eigenfunctions",
    "evaluate",
    "evaluate_maps",
    "score_mapping",
]
