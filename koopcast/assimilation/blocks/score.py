"""Multiply weights by likelihoods."""

from dataclasses import replace
from typing import Literal

from koopcast.assimilation.blocks.base import BlockSpec, Form, Population, Session


class ScoreSpec(BlockSpec):
    """w ← w p(y | x) with what is observed at the time that was reached."""

    kind: Literal["score"] = "score"

    takes = frozenset({Form.FORECAST})
    reference = "Ścibior et al. 2018, weighted samplers"

    def gives(self, form: Form) -> Form:
        """Return weighted particles."""
        return Form.POSTERIOR

    def apply(self, population: Population | None, session: Session, name: str) -> Population:
        """Return the particles with their new weights."""
        assert population is not None, "the form was checked"
        likelihood = session.program.log_likelihood(population.state, population.time - 1)
        return session.scored(replace(population, log_weight=population.log_weight + likelihood))
