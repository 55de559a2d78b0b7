"""The table of scores that a step wrote, read back."""

from koopcast.stores import Artefact
from koopcast.stores.files import read_table
from koopcast.verification import score_mapping
from tasks import study
from tasks.evaluate import SCORES

Scores = dict[str, dict[str, dict[str, float]]]


def read_scores(artefact: Artefact) -> Scores:
    """Return `{metric: {subject: {lead, size or "all": value}}}`."""
    if (artefact.path / study.FINDINGS).is_file():
        return study.score_mapping(read_table(artefact.file(study.FINDINGS)))
    return score_mapping(read_table(artefact.file(SCORES)))
