"""Studies: small experiments, repeated, whose table carries a claim. Conditions gate on it."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from koopcast.spec import MethodSpec

ALL = "all"
"""The key of a score that has no size."""


@dataclass(frozen=True)
class Findings:
    """What a study found: scores for conditions and figures, tables for reading."""

    scores: Mapping[str, Mapping[str, Mapping[str, float]]]
    """metric -> subject -> size, or `all` -> value."""
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    """Name -> rows; the same seed gives the same rows, columns named `seconds` aside."""


class StudySpec(MethodSpec):
    """Options of a study."""

    @abstractmethod
    def metrics(self) -> Mapping[str, str]:
        """Return what is measured -> its units."""

    @abstractmethod
    def subjects(self) -> Mapping[str, Sequence[int]]:
        """Return what is compared -> the sizes at which it is, empty where there is one score alone."""

    @abstractmethod
    def run(self, seed: int) -> Findings:
        """Carry the study out; progress goes through `koopcast.progress.report`."""
