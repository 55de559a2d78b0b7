"""Backgrounds: covariances B of the error of a forecast, by a square root, batched over experiments.

A *control* v stands for the increment B^{1/2} v; for v ~ N(0, I) that has the covariance B.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.assimilation.base import Climatology, Setting
from koopcast.errors import EmptySelection
from koopcast.spec import MethodSpec


class Covariance(ABC):
    """B = B^{1/2} B^{T/2} of states, float64."""

    rank: int
    """Entries of a control."""

    @abstractmethod
    def root(self, control: Float[Tensor, "batch member rank"]) -> Float[Tensor, "batch member state"]:
        """Return B^{1/2} v."""

    @abstractmethod
    def transposed(self, state: Float[Tensor, "batch member state"]) -> Float[Tensor, "batch member rank"]:
        """Return B^{T/2} x."""

    @abstractmethod
    def columns(self) -> Float[Tensor, "_ rank state"]:
        """Return the columns of B^{1/2}, one a row; one matrix where experiments share it."""

    def matrix(self) -> Float[Tensor, "_ state state"]:
        """Return B: for states that are small."""
        columns = self.columns()
        return columns.mT @ columns


Background = Callable[[Tensor], Covariance]
"""(background ensemble "batch member state") -> the covariance of its error."""


class BackgroundSpec(MethodSpec):
    """Options of a background error covariance."""

    @abstractmethod
    def build(self, setting: Setting) -> Background:
        """Return the covariance as a function of the ensemble, which one that is static ignores.

        Raises:
            EmptySelection: It needs training data, a model or positions that the setting does not hold.
        """

    def needs_climatology(self) -> bool:
        """Return whether it reads the training data."""
        return False

    def needs_ensemble(self) -> bool:
        """Return whether it is estimated from the ensemble."""
        return False

    def needs_physical_state(self) -> bool:
        """Return whether cells of the state must have a position."""
        return False


class Factor(Covariance):
    """A root that is held as a matrix."""

    def __init__(self, columns: Float[Tensor, "_ rank state"]) -> None:
        self._columns = columns
        self.rank = columns.shape[1]

    def root(self, control: Float[Tensor, "batch member rank"]) -> Float[Tensor, "batch member state"]:
        """Return B^{1/2} v."""
        return control @ self._columns

    def transposed(self, state: Float[Tensor, "batch member state"]) -> Float[Tensor, "batch member rank"]:
        """Return B^{T/2} x."""
        return state @ self._columns.mT

    def columns(self) -> Float[Tensor, "_ rank state"]:
        """Return the matrix."""
        return self._columns


def climatology_of(setting: Setting, name: str) -> Climatology:
    """Return the climatology of a setting.

    Raises:
        EmptySelection: It has none.
    """
    if setting.climatology is None:
        raise EmptySelection(
            f"the background '{name}' needs training data for its climatology",
            "split the dataset so that it has a `train` part",
        )
    return setting.climatology


def climatological_std(setting: Setting, name: str) -> Float[Tensor, " state"]:
    """Return the standard deviation of each entry of the state over the training data."""
    return climatology_of(setting, name).states.std(dim=0)


def factor_of(samples: Float[Tensor, "sample state"]) -> Factor:
    """Return S Sᵀ of samples S with as few columns as it has rank.

    The root is symmetric where there are more samples than entries of the state.
    """
    count, size = samples.shape
    if count <= size:
        return Factor(samples[None])
    eigenvalues, vectors = torch.linalg.eigh(samples.mT @ samples)
    return Factor((vectors * eigenvalues.clamp_min(0).sqrt() @ vectors.mT)[None])
