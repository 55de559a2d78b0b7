"""Draw a population of a sampler."""

from typing import Literal

from koopcast.assimilation.blocks.base import BlockSpec, Form, Population, Session


class SpawnSpec(BlockSpec):
    """N independent draws of the first state, each of weight 1/N; in a cycle, of the Gaussian with mean and
    covariance of the particles that were carried on.
    """

    kind: Literal["spawn"] = "spawn"

    takes = frozenset({Form.SAMPLER, Form.START})
    reference = "Ścibior et al. 2018, populations"

    def gives(self, form: Form) -> Form:
        """Return particles."""
        return Form.START

    def apply(self, population: Population | None, session: Session, name: str) -> Population:
        """Return the draws."""
        z = session.draws(name).normal(session.members, session.program.initial)
        return Population.equal(z, session.program.begin(z))
