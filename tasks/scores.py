"""The table of scores that a step wrote, read back."""

import math
from typing import Any

from koopcast.stores import Artefact
from koopcast.stores.files import read_json, read_table
from koopcast.verification import score_mapping
from tasks import study
from tasks.evaluate import SCORES

Scores = dict[str, dict[str, dict[str, float]]]
SWEPT = "scores.json"
"""Scores of a step that a sweep multiplies, at the optimum."""


def read_scores(artefact: Artefact) -> Scores:
    """Return `{metric: {subject: {lead, size or "all": value}}}`."""
    if (artefact.path / SWEPT).is_file():
        return _finite(read_json(artefact.file(SWEPT)))
    if (artefact.path / study.FINDINGS).is_file():
        return study.score_mapping(read_table(artefact.file(study.FINDINGS)))
    return score_mapping(read_table(artefact.file(SCORES)))


def _finite(written: dict[str, Any]) -> Scores:
    """Return scores from JSON, NaN for null."""
    return {
        metric: {
            subject: {place: math.nan if value is None else value for place, value in places.items()}
            for subject, places in subjects.items()
        }
        for metric, subjects in written.items()
    }
