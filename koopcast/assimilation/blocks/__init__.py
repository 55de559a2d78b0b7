"""Blocks of inference: the union is the registry."""

from collections.abc import Sequence
from typing import Annotated, TypeAlias

from koopcast.assimilation.blocks.advance import AdvanceSpec
from koopcast.assimilation.blocks.base import BlockSpec as BlockSpec
from koopcast.assimilation.blocks.base import Form as Form
from koopcast.assimilation.blocks.base import Population as Population
from koopcast.assimilation.blocks.base import Program as Program
from koopcast.assimilation.blocks.base import Session as Session
from koopcast.assimilation.blocks.base import names
from koopcast.assimilation.blocks.base import order_faults as order_faults
from koopcast.assimilation.blocks.collapse import CollapseSpec
from koopcast.assimilation.blocks.hoist import HoistSpec
from koopcast.assimilation.blocks.mh import MHSpec
from koopcast.assimilation.blocks.push_evidence import PushEvidenceSpec
from koopcast.assimilation.blocks.resample import ResampleSpec
from koopcast.assimilation.blocks.score import ScoreSpec
from koopcast.assimilation.blocks.spawn import SpawnSpec
from koopcast.spec import Family

AnyBlock: TypeAlias = Annotated[
    AdvanceSpec | CollapseSpec | HoistSpec | MHSpec | PushEvidenceSpec | ResampleSpec | ScoreSpec | SpawnSpec,
    Family("blocks"),
]


def run_stack(
    blocks: Sequence[BlockSpec], session: Session, population: Population | None = None
) -> Population:
    """Apply blocks in their order, which was checked, to a population or to nothing.

    Returns:
        The population that the last one leaves.
    """
    for block, name in names(blocks):
        population = block.apply(population, session, name)
    assert population is not None, "the form was checked"
    return population
