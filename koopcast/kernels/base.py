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


class ScaledSpec(KernelSpec):
    """Options of a kernel with a length c."""

    width: PositiveFloat = 1.0
    """Length c, as a multiple of the mean distance of the training points from their mean."""

    def prepare(self, points: Float[Tensor, "point coordinate"]) -> dict[str, Tensor]:
        """Measure the length."""
        spread = (points - points.mean(dim=0)).norm(dim=1).mean()
        spread = torch.where(spread > 0, spread, 1.0)
        return {"scale": (self.width * spread).reshape(1)}


class RadialSpec(ScaledSpec):
    """Options of a kernel of ‖x - y‖ / c."""

    def exact(
        self,
        x: Float[Tensor, "row coordinate"],
        y: Float[Tensor, "column coordinate"],
        tensors: Mapping[str, Tensor],
    ) -> Float[Tensor, "row column"]:
        """Return the profile at the distances."""
        left = x / tensors["scale"]
        right = left if x is y else y / tensors["scale"]
        return self.profile(squared_distance(left, right))

    @abstractmethod
    def profile(self, squared: Float[Tensor, "row column"]) -> Float[Tensor, "row column"]:
        """Return the kernel as a function of (‖x - y‖ / c)², which may be overwritten."""


def squared_distance(
    x: Float[Tensor, "row coordinate"], y: Float[Tensor, "column coordinate"]
) -> Float[Tensor, "row column"]:
    """Return ‖x - y‖²; exactly 0 between a set and itself."""
    return minus_squared_distance(x, y).neg_()


def minus_squared_distance(
    x: Float[Tensor, "row coordinate"], y: Float[Tensor, "column coordinate"]
) -> Float[Tensor, "row column"]:
    """Return -‖x - y‖² by one product of matrices, (2x, -‖x‖², -1) with (y, 1, ‖y‖²)."""
    centre = x.mean(dim=0)
    x_, y_ = x - centre, y - centre
    one = x.new_ones(1)
    left = torch.cat([2 * x_, -x_.square().sum(dim=1, keepdim=True), -one.expand(len(x), 1)], dim=1)
    right = torch.cat([y_, one.expand(len(y), 1), y_.square().sum(dim=1, keepdim=True)], dim=1)
    result = (left @ right.mT).clamp_max_(0)
    if x is y:
        result.fill_diagonal_(0)
    return result
