"""Pick one particle."""

from dataclasses import replace
from typing import Literal

from koopcast.assimilation.blocks.base import BlockSpec, Form, Population, Session
from koopcast.numerics.particles import ancestors, gathered, normalised


class CollapseSpec(BlockSpec):
    """One particle drawn by weight, with the weight Z = Σ w of all: a draw from the posterior. The end."""

    kind: Literal["collapse"] = "collapse"

    takes = frozenset({Form.POSTERIOR})
    reference = "Ścibior et al. 2018; `collapse` of the library of that design"

    def gives(self, form: Form) -> Form:
        """Return a single particle."""
        return Form.SINGLE

    def apply(self, population: Population | None, session: Session, name: str) -> Population:
        """Return the particle as a population of one."""
        assert population is not None, "the form was checked"
        weight, total = normalised(population.log_weight)
        uniform = session.draws(name).uniform(1).expand_as(weight)
        index = ancestors(weight, "multinomial", uniform)[:, :1]
        return replace(
            population,
            trace=gathered(population.trace, index),
            state=gathered(population.state, index),
            before=gathered(population.before, index),
            log_weight=total[:, None],
            covariance=None,
        )
