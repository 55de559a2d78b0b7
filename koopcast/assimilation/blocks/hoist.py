"""Apply blocks at every observation time."""

from collections.abc import Iterator
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from koopcast.assimilation.blocks.advance import AdvanceSpec
from koopcast.assimilation.blocks.base import BlockSpec, Form, Population, Session, names, through
from koopcast.assimilation.blocks.mh import MHSpec
from koopcast.assimilation.blocks.push_evidence import PushEvidenceSpec
from koopcast.assimilation.blocks.resample import ResampleSpec
from koopcast.assimilation.blocks.score import ScoreSpec
from koopcast.spec import Family, Problem

InnerBlock: TypeAlias = Annotated[
    AdvanceSpec | MHSpec | PushEvidenceSpec | ResampleSpec | ScoreSpec,
    Family("inner_blocks"),
]
SMC = (AdvanceSpec(), ScoreSpec(), ResampleSpec())


class HoistSpec(BlockSpec):
    """Blocks that are applied at each observation time that is left, one after the other."""

    kind: Literal["hoist"] = "hoist"
    steps: tuple[InnerBlock, ...] = Field(SMC, min_length=1)
    """The blocks of one observation time."""

    takes = frozenset({Form.START, Form.POSTERIOR})
    reference = "Ścibior et al. 2018; `hoist` of the library of that design"

    def gives(self, form: Form) -> Form:
        """Return what the blocks leave."""
        return through(self.steps, form)[0]

    def faults(self, form: Form) -> Iterator[Problem]:
        """Yield what is wrong with the first round, or with the one that follows it."""
        yield from super().faults(form)
        after, found = through(self.steps, form)
        again = found or through(self.steps, after)[1]
        yield from (problem.below("steps") for problem in again)
        reached = sum(step.advances() or 0 for step in self.steps)
        if not again and reached != 1:
            yield Problem(("steps",), f"a round has {reached} blocks `advance`, and must have one")

    def advances(self) -> None:
        """Return None: all that are left."""
        return

    def apply(self, population: Population | None, session: Session, name: str) -> Population:
        """Return the population at the last observation time."""
        assert population is not None, "the form was checked"
        while population.time < session.program.num_times:
            for block, inner in names(self.steps, f"{name}."):
                population = block.apply(population, session, inner)
        return population
