"""The step that learns what fields look like."""

from collections.abc import Iterator
from typing import ClassVar, Literal

from koopcast.priors import AnyPrior
from koopcast.spec import Problem
from schemas.references import Dataset, Kind, Prior, Ref
from schemas.stages.base import Contract, Inputs, Step


class LearnPriorStep(Step):
    """Learn a prior from the records of the `train` part of a dataset, each by itself.

    A dataset that is not split is used whole.
    """

    yields: ClassVar[type[Kind]] = Prior
    task: Literal["learn_prior"] = "learn_prior"
    data: Ref[Dataset]
    """The dataset to learn from: a step that yields one."""
    prior: AnyPrior
    """What is learned."""

    def modules(self) -> tuple[str, ...]:
        """Return the training, and the network."""
        return ("koopcast.priors.learning", "koopcast.priors.convex")

    def outline(self, inputs: Inputs) -> Contract:
        """Return the fields of the dataset."""
        return Contract(Prior, inputs[str(self.data)].fields, self.data)

    def rules(self, inputs: Inputs) -> Iterator[Problem]:
        """Refuse a dataset without records to learn from, and fields that the prior does not take."""
        fields = inputs[str(self.data)].fields
        if fields.parts and "train" not in fields.parts:
            parts = ", ".join(fields.parts)
            yield Problem(
                ("data",),
                f"the split of '{self.data}' has no part `train` (parts: {parts}); add one to learn from",
            )
        yield from (problem.below("prior") for problem in self.prior.faults(fields))
