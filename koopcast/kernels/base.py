"""Kernels: inner products of features that are never written down."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping

import torch
from jaxtyping import Float
from pydantic import PositiveFloat
from torch import Tensor

from koopcast.spec import MethodSpec, Problem


class KernelSpec(MethodSpec):
    """Options of a positive semi-definite kernel."""

    @abstractmethod
    def prepare(self, points: Float[Tensor, "point coordinate"]) -> dict[str, Tensor]:
        """Return the tensors that `exact` needs, measured on the training data.

        Raises:
            DataError: The kernel does not suit points of this kind.
        """

    @abstractmethod
    def exact(
        self,
        x: Float[Tensor, "row coordinate"],
        y: Float[Tensor, "column coordinate"],
        tensors: Mapping[str, Tensor],
    ) -> Float[Tensor, "row column"]:
        """Return k(x, y) of all pairs."""

    def gram(
        self,
        x: Float[Tensor, "row coordinate"],
        y: Float[Tensor, "column coordinate"],
        tensors: Mapping[str, Tensor],
    ) -> Float[Tensor, "row column"]:
        """Return k(x, y) as it is known: exactly, unless the kernel is measured."""
        return self.exact(x, y, tensors)

    def square(
        self, x: Float[Tensor, "row coordinate"], tensors: Mapping[str, Tensor]
    ) -> Float[Tensor, "row row"]:
        """Return k(x, x) of all pairs as it is known: symmetric and positive semi-definite."""
        return self.exact(x, x, tensors)

    def is_measured(self) -> bool:
        """Return whether values are estimates by counts."""
        return False

    def faulty_dimension(self, coordinates: int) -> Iterator[Problem]:
        """Yield why the kernel does not take points of so many coordinates."""
        yield from ()


class RadialSpec(KernelSpec):
    """Options of a kernel of ‖x - y‖ / c."""

    width: PositiveFloat = 1.0
    """Length c, as a multiple of the mean distance of the training points from their mean."""

    def prepare(self, points: Float[Tensor, "point coordinate"]) -> dict[str, Tensor]:
        """Measure the length."""
        spread = (points - points.mean(dim=0)).norm(dim=1).mean()
        spread = torch.where(spread > 0, spread, 1.0)
        return {"scale": (self.width * spread).reshape(1)}

    def exact(
        self,
        x: Float[Tensor, "row coordinate"],
        y: Float[Tensor, "column coordinate"],
        tensors: Mapping[str, Tensor],
    ) -> Float[Tensor, "row column"]:
        """Return the profile at the distances."""
        return self.profile(squared_distance(x / tensors["scale"], y / tensors["scale"]))

    @abstractmethod
    def profile(self, squared: Float[Tensor, "row column"]) -> Float[Tensor, "row column"]:
        """Return the kernel as a function of (‖x - y‖ / c)²."""


def squared_distance(
    x: Float[Tensor, "row coordinate"], y: Float[Tensor, "column coordinate"]
) -> Float[Tensor, "row column"]:
    """Return ‖x - y‖² by one product of matrices; exactly 0 between a set and itself."""
    centre = x.mean(dim=0)
    x_, y_ = x - centre, y - centre
    norms = [(item * item).sum(dim=1) for item in (x_, y_)]
    squared = torch.addmm(norms[0][:, None] + norms[1], x_, y_.mT, alpha=-2).clamp_min_(0)
    if x is y:
        squared.fill_diagonal_(0)
    return squared
