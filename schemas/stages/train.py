"""The step that learns a model."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal, TypeAlias

from koopcast.koopman import AnyKoopman
from koopcast.operators import AnyOperator
from koopcast.spec import Family, Problem
from koopcast.subsets import SubsetSpec
from koopcast.training import TrainingSpec
from schemas.references import Dataset, Kind, Model, Ref
from schemas.stages.base import Contract, Inputs, Step

AnyModel: TypeAlias = Annotated[AnyKoopman | AnyOperator, Family("models")]


class TrainStep(Step):
    """Learn a model of the dynamics from the `train` part of a dataset.

    The part `valid` steers the training where there is one; `test` is never seen. A dataset that is not
    split is
    used whole.
    """

    yields: ClassVar[type[Kind]] = Model
    task: Literal["train"] = "train"
    data: Ref[Dataset]
    """The dataset to learn from: a step that yields one."""
    model: AnyModel
    """What is learned."""
    training: TrainingSpec | None = None
    """For models that are trained by gradients; default: the options of `TrainingSpec`."""
    subset: SubsetSpec | None = None
    """Learn from some of the training pairs alone; default: from all."""

    def modules(self) -> tuple[str, ...]:
        """Return the training loop where there is one."""
        return ("koopcast.training",) if self.model.is_trained_by_gradient else ()

    def outline(self, inputs: Inputs) -> Contract:
        """Return the fields of the dataset, and what the model needs of them."""
        fields = inputs[str(self.data)].fields
        return Contract(
            Model,
            fields,
            self.data,
            history=self.model.num_history(),
            is_localizable=self.model.is_localizable,
        )

    def rules(self, inputs: Inputs) -> Iterator[Problem]:
        """Refuse a dataset without records to learn from, and options that the model does not have."""
        dataset = inputs[str(self.data)]
        if dataset.fields.parts and "train" not in dataset.fields.parts:
            parts = ", ".join(dataset.fields.parts)
            yield Problem(
                ("data",),
                f"the split of '{self.data}' has no part `train` (parts: {parts}); add one to learn from",
            )
            return
        if dataset.fields.is_stationary:
            yield Problem(
                ("data",),
                f"the samples of '{self.data}' have no time, and '{self.model.kind}' learns what follows "
                "what; name data of a system that evolves",
            )
            return
        records, history = dataset.part("train").fields.time.size, self.model.num_history()
        if records <= history and not any(self.model.check(dataset.fields)):
            yield Problem(
                ("model",),
                f"'{self.model.kind}' needs {history + 1} consecutive records ({history} make one state), "
                f"the part it learns from has {records}; fewer delays or a longer `train` part",
            )
        if self.subset is not None:
            length = history + (self.training.rollout if self.training is not None else 1)
            for problem in self.subset.faults(dataset.part("train").fields, length):
                yield problem.below("subset")
        if self.training is not None and not self.model.is_trained_by_gradient:
            yield Problem(
                ("training",),
                f"'{self.model.kind}' is fitted in closed form and takes no `training` block; remove it",
            )
