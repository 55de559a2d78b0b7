"""The step that learns a model."""

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field, PositiveInt

from koopcast.grids import FieldsInfo
from koopcast.learned import AnyModel
from koopcast.mapping import MappingSpec, Signature
from koopcast.models import ModelSpec, NetworkModelSpec
from koopcast.operators.fitted import FittedOperatorSpec
from koopcast.spec import Problem
from koopcast.subsets import SubsetSpec
from koopcast.training import TrainingSpec
from schemas.references import Dataset, Kind, Model, Ref
from schemas.stages.base import Contract, Inputs, Step


class TrainStep(Step):
    """Learn a model from the `train` part of a dataset: its dynamics, or a map between its fields.

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
    mapping: MappingSpec | None = None
    """Learn a map between variables, or from first records to later ones; default: dynamics, what follows
    what."""
    repeats: PositiveInt = Field(1, le=100)
    """Independent trainings, each from random numbers of its own; scores are means over them. Whatever uses
    one model takes the first."""
    training: TrainingSpec | None = None
    """For models that are trained by gradients; default: the options of `TrainingSpec`."""
    subset: SubsetSpec | None = None
    """Learn from some of the training pairs alone; default: from all."""

    def modules(self) -> tuple[str, ...]:
        """Return the loop, or the regression, that finds the parameters of a network."""
        if self.model.is_trained_by_gradient:
            return ("koopcast.training",)
        return ("koopcast.fitting",) if isinstance(self.model, FittedOperatorSpec) else ()

    def signature(self, fields: FieldsInfo) -> Signature:
        """Return what is mapped to what."""
        if self.mapping is None:
            return Signature.of_dynamics(fields, self.model.num_history())
        return self.mapping.signature(fields)

    def outline(self, inputs: Inputs) -> Contract:
        """Return the fields of the dataset, and what the model needs of them."""
        fields = inputs[str(self.data)].fields
        return Contract(
            Model,
            fields,
            self.data,
            history=self.model.num_history(),
            is_localizable=self.model.is_localizable,
            mapping=None if self.mapping is None else self.mapping.signature(fields),
            transfers=self.model.transfers(),
            has_correction=self.model.has_correction,
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
        faults = list(self._faulty_target(dataset.part("train").fields))
        yield from faults
        if faults:
            return
        signature = self.signature(dataset.fields)
        for problem in self.model.faults(signature):
            yield problem.below("model")
        training = self.training or TrainingSpec()
        if self.subset is not None and not self.model.takes_subset:
            message = f"'{self.model.kind}' learns from whole trajectories, not from pairs; remove subset"
            yield Problem(("subset",), message)
        elif self.subset is not None:
            length = signature.num_frames
            if isinstance(self.model, NetworkModelSpec):
                length = self.model.num_frames(signature, training.rollout)
            for problem in self.subset.faults(signature.seen_fields(dataset.part("train").fields), length):
                yield problem.below("subset")
        yield from self._faulty_training(signature)

    def _faulty_target(self, train: FieldsInfo) -> Iterator[Problem]:
        """Yield why what should be learned is not in the data."""
        model: ModelSpec = self.model
        if self.mapping is not None:
            if not model.learns_maps:
                yield Problem(("mapping",), f"'{model.kind}' learns what follows what; remove mapping")
                return
            for problem in self.mapping.faults(train):
                yield problem.below("mapping")
            return
        if not model.learns_dynamics:
            yield Problem(
                ("model",), f"'{model.kind}' learns a map alone; say what it maps to what under `mapping`"
            )
            return
        if train.is_stationary:
            yield Problem(
                ("data",),
                f"the samples of '{self.data}' have no time, and '{model.kind}' learns what follows "
                "what; name data of a system that evolves, or say under `mapping` what it maps to what",
            )
            return
        records, history = train.time.size, model.num_history()
        if records <= history and not any(model.check(train)):
            yield Problem(
                ("model", "history") if "history" in model.model_fields_set else ("model",),
                f"'{model.kind}' needs {history + 1} consecutive records ({history} make one state), "
                f"the part it learns from has {records}; fewer delays or a longer `train` part",
            )

    def _faulty_training(self, signature: Signature) -> Iterator[Problem]:
        """Yield the options of training that have no meaning for the model or what it learns."""
        if self.training is not None:
            for problem in self.training.loss.faults(signature):
                yield problem.below("training", "loss")
            for name in ("rollout", "curriculum", "push_forward", "noise"):
                usual = TrainingSpec.model_fields[name].default
                if not self.model.rolls_out and getattr(self.training, name) != usual:
                    yield Problem(
                        ("training", name),
                        f"'{self.model.kind}' lays out its training windows itself and takes no `{name}`; "
                        "remove it, and see the options of the model",
                    )
            if not signature.is_dynamics and self.training.rollout > 1:
                yield Problem(
                    ("training", "rollout"),
                    "a map returns all records at once and rolls nothing out; remove it",
                )
            if self.training.multi_resolution is not None and not self.model.transfers():
                yield Problem(
                    ("training", "multi_resolution"),
                    f"the weights of '{self.model.kind}' belong to one grid; remove it, or "
                    f"{self.model.transfer_hint}",
                )
        if self.training is not None and not self.model.is_trained_by_gradient:
            yield Problem(
                ("training",),
                f"'{self.model.kind}' is fitted in closed form and takes no `training` block; remove it",
            )
