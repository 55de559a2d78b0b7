"""Move the sum of weights outside."""

from dataclasses import replace
from typing import Literal

from koopcast.assimilation.blocks.base import BlockSpec, Form, Population, Session
from koopcast.numerics.particles import normalised


class PushEvidenceSpec(BlockSpec):
    """w ← w / Z with Z = Σ w, and Z a factor of the whole: the measure stays."""

    kind: Literal["push_evidence"] = "push_evidence"

    takes = frozenset({Form.START, Form.POSTERIOR})
    reference = "Ścibior et al. 2018; `pushEvidence` of the library of that design"

    def apply(self, population: Population | None, session: Session, name: str) -> Population:
        """Return the particles with weights of sum 1."""
        assert population is not None, "the form was checked"
        total = normalised(population.log_weight)[1]
        return replace(
            population,
            log_weight=population.log_weight - total[:, None],
            log_evidence=population.log_evidence + total,
        )
