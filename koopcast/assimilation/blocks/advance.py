"""Run to the next observation."""

from dataclasses import replace
from typing import Literal

import torch

from koopcast.assimilation.blocks.base import BlockSpec, Form, Population, Session


class AdvanceSpec(BlockSpec):
    """Draw what the model draws on its way to the next observation time, and stop there."""

    kind: Literal["advance"] = "advance"

    takes = frozenset({Form.START, Form.POSTERIOR})
    reference = "Ścibior et al. 2018, suspended computations"

    def gives(self, form: Form) -> Form:
        """Return particles that wait to be scored."""
        return Form.FORECAST

    def advances(self) -> int:
        """Return 1."""
        return 1

    def apply(self, population: Population | None, session: Session, name: str) -> Population:
        """Return the particles at the next observation time."""
        assert population is not None, "the form was checked"
        program, (batch, members) = session.program, population.trace.shape[:2]
        noise = population.trace.new_zeros(batch, members, 0)
        if program.step:
            noise = session.draws(name).normal(members, program.step)
        return replace(
            population,
            trace=torch.cat((population.trace, noise), dim=2),
            state=program.advance(population.state, noise, population.time),
            before=population.state,
            time=population.time + 1,
            covariance=None,
        )
