"""Priors: what fields of a dataset look like, learned, for methods that infer fields from a few values."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd
from jaxtyping import Float
from torch import Tensor

from koopcast.fields import FieldData
from koopcast.grids import FieldsInfo
from koopcast.spec import MethodSpec, Problem


class Prior(ABC):
    """A regulariser R of fields, through its proximal operator; fields are normalised and flattened to cells.

    Normalised means less the mean and over the standard deviation of the training data; float64.
    """

    info: FieldsInfo
    """Of the fields that it was learned from."""
    noise: float
    """Standard deviation σ of the noise that the operator removes: R stands for -σ² log p."""

    @abstractmethod
    def proximal(self, z: Float[Tensor, "batch cell"]) -> Float[Tensor, "batch cell"]:
        """Return argmin over x of ½ |x - z|² + R(x)."""

    @abstractmethod
    def normalise(self, cells: Float[Tensor, "batch cell"]) -> Float[Tensor, "batch cell"]:
        """Return fields in units of the training data."""

    @abstractmethod
    def denormalise(self, cells: Float[Tensor, "batch cell"]) -> Float[Tensor, "batch cell"]:
        """Return fields in physical units."""

    @abstractmethod
    def scale(self) -> Float[Tensor, " cell"]:
        """Return the standard deviation that normalising divides by."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Return everything that `PriorSpec.restore` needs beside the spec and the contract of the fields."""


class PriorSpec(MethodSpec):
    """Options of a prior."""

    def faults(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Yield why it cannot be learned from such fields."""
        yield from ()

    @abstractmethod
    def learn(self, data: FieldData, seed: int, scratch: Path) -> tuple[Prior, pd.DataFrame]:
        """Return the prior of the fields in the window of `data`, and the table of its training.

        A training that was killed goes on from its last checkpoint in `scratch`, bit for bit.

        Raises:
            Diverged: The loss is no longer finite.
        """

    @abstractmethod
    def restore(self, info: FieldsInfo, tensors: Mapping[str, Tensor]) -> Prior:
        """Return the prior that `Prior.tensors` described."""
