"""The table of scores that an `evaluate` step wrote, read back."""

import pandas as pd

from koopcast.stores import Artefact
from koopcast.stores.files import read_table
from koopcast.verification import score_mapping
from tasks.evaluate import SCORES

Scores = dict[str, dict[str, dict[str, float]]]


def read_scores(artefact: Artefact) -> Scores:
    """Return `{metric: {subject: {lead or "all": value}}}`."""
    table: pd.DataFrame = read_table(artefact.file(SCORES))
    return score_mapping(table)
