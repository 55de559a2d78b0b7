"""The steps of a pipeline: each composes options of the science with references to other steps."""

from typing import Annotated, TypeAlias

from pydantic import Field

from schemas.stages.assimilate import AssimilateStep
from schemas.stages.base import Contract, Step
from schemas.stages.evaluate import EvaluateStep
from schemas.stages.gated import GatedStep
from schemas.stages.generate import GenerateStep
from schemas.stages.ingest import IngestStep
from schemas.stages.invert import InvertStep
from schemas.stages.learn_prior import LearnPriorStep
from schemas.stages.refine import RefineStep
from schemas.stages.study import StudyStep
from schemas.stages.train import TrainStep

AnyStep: TypeAlias = Annotated[
    AssimilateStep
    | EvaluateStep
    | GenerateStep
    | IngestStep
    | InvertStep
    | LearnPriorStep
    | RefineStep
    | StudyStep
    | TrainStep,
    Field(discriminator="task"),
]

__all__ = [
    "AnyStep",
    "AssimilateStep",
    "Contract",
    "EvaluateStep",
    "GatedStep",
    "GenerateStep",
    "IngestStep",
    "InvertStep",
    "LearnPriorStep",
    "RefineStep",
    "Step",
    "StudyStep",
    "TrainStep",
]
