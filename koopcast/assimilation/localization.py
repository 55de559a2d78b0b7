"""Localisation: how fast the trust in sampled covariances falls with distance."""

import math
from abc import abstractmethod
from collections.abc import Iterator
from typing import Annotated, Literal, TypeAlias

import torch
from jaxtyping import Float, Int
from pydantic import PositiveFloat
from torch import Tensor

from koopcast.assimilation.base import Setting
from koopcast.errors import EmptySelection
from koopcast.grids import FieldsInfo
from koopcast.numerics.geometry import SPHERE, Domain, distances
from koopcast.spec import Family, MethodSpec, Problem

NEGLIGIBLE = 1e-3
"""Weights below this are taken as 0: such observations do not enter."""


class LocalizationSpec(MethodSpec):
    """Options of a taper."""

    @abstractmethod
    def weight(self, distance: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the weight in [0, 1] at a distance in the units of the axes."""

    def is_global(self) -> bool:
        """Return whether every weight is 1."""
        return False


class NoLocalizationSpec(LocalizationSpec):
    """Every observation acts everywhere."""

    kind: Literal["none"] = "none"

    reference = "Evensen 1994"

    def weight(self, distance: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return 1."""
        return torch.ones_like(distance)

    def is_global(self) -> bool:
        """Return True."""
        return True


class GaspariCohnSpec(LocalizationSpec):
    """The fifth-order piecewise rational function: nearly Gaussian, zero beyond twice its half-support c.

    Distances are in the units of the axes: grid points on an index axis, degrees of arc on the sphere.
    """

    kind: Literal["gaspari_cohn"] = "gaspari_cohn"
    radius: PositiveFloat = 4.0
    """Radius of localisation; `radius_kind` says of what."""
    radius_kind: Literal["gaussian_equivalent", "half_support", "support"] = "gaussian_equivalent"
    """`gaussian_equivalent`: c = √(10/3) radius, where the weight is 0.635, near the Gaussian exp(-1/2);
    `half_support`: the radius is c; `support`: it is 2c."""

    reference = "Gaspari and Cohn 1999, eq. 4.10"

    def half_support(self) -> float:
        """Return c, in the units of the axes."""
        factors = {"gaussian_equivalent": math.sqrt(10 / 3), "half_support": 1.0, "support": 0.5}
        return self.radius * factors[self.radius_kind]

    def weight(self, distance: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return equation 4.10 at r = distance / c."""
        r = distance / self.half_support()
        near = 1 + r**2 * (-5 / 3 + r * (5 / 8 + r * (1 / 2 - r / 4)))
        far = 4 + r * (-5 + r * (5 / 3 + r * (5 / 8 + r * (-1 / 2 + r / 12)))) - 2 / (3 * r.clamp_min(1))
        return torch.where(r <= 1, near, torch.where(r < 2, far, 0.0)).clamp(0, 1)

    def check(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Refuse axes between which no distance is defined."""
        geometries = {axis.geometry for axis in fields.axes}
        if geometries >= SPHERE and len(fields.axes) > 2:
            yield Problem((), "distances that mix degrees and other units are not defined; use `none`")
        if any(axis.name == "point" for axis in fields.axes):
            yield Problem((), "scattered points have no distances along their axis; use `none`")


AnyLocalization: TypeAlias = Annotated[GaspariCohnSpec | NoLocalizationSpec, Family("localization")]


class Taper:
    """Weights between observations and grid points, or one another; kept while the sites stay the same
    tensor.
    """

    def __init__(
        self,
        spec: LocalizationSpec,
        domain: Domain,
        num_channels: int,
        reach: Float[Tensor, " obs"] | None = None,
    ) -> None:
        self._spec, self._domain, self._num_channels, self._reach = spec, domain, num_channels, reach
        self._index: Tensor | None = None
        self._points: Tensor | None = None
        self._obs: Tensor | None = None

    @classmethod
    def of(cls, spec: LocalizationSpec, setting: Setting) -> "Taper":
        """Return the taper between the cells of a setting.

        Raises:
            EmptySelection: The state has no cells with positions.
        """
        if setting.domain is None:
            raise EmptySelection(
                "localisation needs cells with positions; this state has none",
                "set `localization: none` or use a model whose state is the field",
            )
        return cls(spec, setting.domain, setting.num_channels, setting.reach)

    def to_points(self, index: Int[Tensor, "batch obs"]) -> Float[Tensor, "_ point obs"]:
        """Return weights between every grid point and the observed cells; one row where experiments share
        sites.
        """
        self._refresh(index)
        if self._points is None:
            every = torch.arange(math.prod(self._domain.shape), device=index.device)
            self._points = torch.stack(
                [self._weights(every, sites, self._reach) for sites in self._sites(index)]
            )
        return self._points

    def to_obs(self, index: Int[Tensor, "batch obs"]) -> Float[Tensor, "_ obs obs"]:
        """Return weights among the observed cells."""
        self._refresh(index)
        if self._obs is None:
            pairs = None if self._reach is None else (self._reach[:, None] + self._reach) / 2
            self._obs = torch.stack([self._weights(sites, sites, pairs) for sites in self._sites(index)])
        return self._obs

    def _refresh(self, index: Tensor) -> None:
        if self._index is not index:
            self._index, self._points, self._obs = index, None, None

    def _sites(self, index: Int[Tensor, "batch obs"]) -> Int[Tensor, "_ obs"]:
        shared = bool((index == index[:1]).all())
        return (index[:1] if shared else index) // self._num_channels

    def _weights(self, points: Tensor, sites: Tensor, reach: Tensor | None) -> Tensor:
        gaps = distances(self._domain, points, sites)
        weights = self._spec.weight(gaps if reach is None else gaps / reach)
        return weights.masked_fill(weights < NEGLIGIBLE, 0.0)
