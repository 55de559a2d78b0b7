"""Dynamic mode decomposition with control."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Int
from pydantic import Field, NonNegativeFloat
from torch import Tensor

from koopcast.errors import DataError
from koopcast.fields import FieldData
from koopcast.grids import FieldsInfo
from koopcast.koopman.base import Rank
from koopcast.koopman.projection import Fit, ProjectedModel, ProjectedSpec, Projection, described, project
from koopcast.models import Model
from koopcast.numerics.ridge import ridge_regression
from koopcast.spec import Problem
from koopcast.subsets import SubsetSpec


class DMDcSpec(ProjectedSpec):
    """A linear map of (stacked) frames and of inputs that act from outside: z' = K z + B v.

    Some variables of the dataset are the inputs v, projected on singular directions of their own; the state
    holds z and v. A forecast holds the last input that it is given: it is right where inputs change slowly,
    or are set by the caller step by step. The spectrum is that of K, the map without inputs.
    """

    kind: Literal["dmdc"] = "dmdc"
    inputs: tuple[str, ...] = Field(min_length=1)
    """Variables that are inputs. The others are forecast."""
    input_rank: Rank = None
    """Directions of the inputs that are kept, as `rank`."""
    ridge: NonNegativeFloat = 1e-4
    """Penalty on the coefficients of both maps, in units of the mean eigenvalue of the Gram matrix of states
    and inputs: a pure number. 0: least squares."""

    reference = "Proctor, Brunton & Kutz 2016; one projection of the states serves both frames of a pair"

    def own_rules(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Yield what the method alone rules out."""
        if fault := self._faulty_inputs(fields):
            yield Problem(("inputs",), fault)

    def fit(self, data: FieldData, generator: torch.Generator, subset: SubsetSpec | None = None) -> Model:
        """Return the model of the training window."""
        self.refuse(data.shape_info)
        own = [name for name in data.info.variables if name not in self.inputs]
        state, drive = project(_only(data, own), self, generator), self._drive(data, generator)
        rank, after = state.rank, self.delays - 1
        joint = replace(state, states=torch.cat([state.states, drive.states[:, after:]], dim=2))
        given, following = joint.pairs(subset, generator)
        fit = ridge_regression(given, following[:, :rank], self.ridge)
        K, B = fit.coefficients.mT.split([rank, drive.rank], dim=1)
        pulled = following[:, :rank] - given[:, rank:] @ B.mT
        tensors = described(state, Fit(K, given[:, :rank], pulled, fit.degrees_of_freedom))
        hold = torch.eye(drive.rank, dtype=torch.float64)
        none = torch.zeros(drive.rank, rank, dtype=torch.float64)
        still = torch.zeros(drive.rank, tensors["noise"].shape[1], dtype=torch.float64)
        vectors = tensors["eigenvectors"]
        tensors |= {
            "operator": torch.cat([torch.cat([K, B], dim=1), torch.cat([none, hold], dim=1)]),
            "noise": torch.cat([tensors["noise"], still]),
            "eigenvectors": torch.cat([vectors, vectors.new_zeros(len(vectors), drive.rank, 2)], dim=1),
        }
        known = list(data.info.variables)
        places = (
            torch.tensor([known.index(name) for name in own]),
            torch.tensor([known.index(name) for name in self.inputs]),
        )
        return ProjectedModel(data.info, self.delays, tensors | _joined(state, drive, self.delays, places))

    def _drive(self, data: FieldData, generator: torch.Generator) -> Projection:
        """Return the inputs in singular directions of their own."""
        spec = self.model_copy(update={"rank": self.input_rank, "delays": 1})
        try:
            return project(_only(data, self.inputs), spec, generator)
        except DataError as error:
            raise type(error)(f"inputs {', '.join(self.inputs)}: {error.message}", error.remedy) from error

    def _faulty_inputs(self, fields: FieldsInfo) -> str | None:
        """Return what is wrong with the names of inputs."""
        known = list(fields.variables)
        if unknown := [name for name in self.inputs if name not in known]:
            return f"'{unknown[0]}' is no variable of the data (variables: {', '.join(known)}); name others"
        if len(set(self.inputs)) < len(self.inputs):
            return f"{', '.join(self.inputs)} holds a name twice; remove it"
        if len(self.inputs) == len(known):
            return f"all variables ({', '.join(known)}) are inputs, and none is left to forecast; remove some"
        return None

    def _rank_limit(self, fields: FieldsInfo, pairs: int) -> int:
        return min(self.delays * fields.num_cells * (fields.num_channels - len(self.inputs)), pairs)


def _only(data: FieldData, names: Sequence[str]) -> FieldData:
    """Return the data with some of the variables."""
    variables = {name: data.info.variables[name] for name in names}
    return replace(data, info=replace(data.info, variables=variables))


def _joined(
    state: Projection,
    drive: Projection,
    delays: int,
    places: tuple[Int[Tensor, " own"], Int[Tensor, " input"]],
) -> dict[str, Tensor]:
    """Return what normalises, encodes and decodes frames of all variables.

    Columns of the directions: those of the states, zero on inputs, and those of the inputs, which only the
    newest frame of a stack has.
    """
    own, inputs = places
    num_channels = len(own) + len(inputs)
    cells = state.tensors["cells"]
    result = {"cells": cells}
    shapes = {"background": cells.shape, "offset": (int(cells.sum()),), "factor": (int(cells.sum()),)}
    for name, shape in shapes.items():
        whole = torch.empty(*shape, num_channels, dtype=torch.float64)
        for part, where in ((state, own), (drive, inputs)):
            whole[..., where] = part.tensors[name].reshape(*shape, len(where))
        result[name] = whole if name == "background" else whole.flatten()
    count = int(cells.sum())
    directions = torch.zeros(delays, count, num_channels, state.rank + drive.rank, dtype=torch.float64)
    directions[:, :, own, : state.rank] = state.tensors["directions"].reshape(
        delays, count, len(own), state.rank
    )
    directions[0][:, inputs, state.rank :] = drive.tensors["directions"].reshape(
        count, len(inputs), drive.rank
    )
    return result | {
        "basis": directions[0].flatten(0, 1).contiguous(),
        "directions": directions.flatten(0, 2).contiguous(),
    }
