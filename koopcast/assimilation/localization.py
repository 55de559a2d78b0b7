"""Localisation: how fast the trust in sampled covariances falls with distance."""

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, NamedTuple, TypeAlias

import torch
from jaxtyping import Float, Int
from pydantic import PositiveFloat
from torch import Tensor

from koopcast.assimilation.base import Setting
from koopcast.errors import EmptySelection
from koopcast.grids import FieldsInfo
from koopcast.numerics.geometry import SPHERE, Domain, distances
from koopcast.numerics.tiles import Sites, tiles
from koopcast.spec import Family, MethodSpec, Problem

NEGLIGIBLE = 1e-3
"""Weights below this are taken as 0: such observations do not enter."""
CHUNK_BYTES = 32 * 2**20
"""Memory of the distances that are worked on at once."""


class LocalizationSpec(MethodSpec):
    """Options of a taper."""

    @abstractmethod
    def weight(self, distance: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the weight in [0, 1] at a distance in the units of the axes."""

    def is_global(self) -> bool:
        """Return whether every weight is 1."""
        return False

    def support(self) -> float:
        """Return the distance from which on weights are negligible, or infinity."""
        low, high = 0.0, 1.0
        while float(self.weight(torch.tensor(high, dtype=torch.float64))) >= NEGLIGIBLE:
            low, high = high, 2 * high
            if high > 1e12:
                return math.inf
        for _ in range(60):
            middle = (low + high) / 2
            is_far = float(self.weight(torch.tensor(middle, dtype=torch.float64))) < NEGLIGIBLE
            low, high = (low, middle) if is_far else (middle, high)
        return high

    def of_each(self, setting: Setting) -> tuple["LocalizationSpec", ...]:
        """Return the taper of each experiment where the setting varies the radius, else the one of all."""
        radii = setting.varied.get("localization.radius")
        if radii is None:
            return (self,)
        return tuple(self.model_copy(update={"radius": radius}) for radius in radii.tolist())


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


class DistanceSpec(LocalizationSpec):
    """Options of a taper that falls with distance.

    Distances are in the units of the axes: grid points on an index axis, degrees of arc on the sphere.
    """

    radius: PositiveFloat = 4.0
    """Radius of localisation."""

    def check(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Refuse axes between which no distance is defined."""
        geometries = {axis.geometry for axis in fields.axes}
        if geometries >= SPHERE and len(fields.axes) > 2:
            yield Problem((), "distances that mix degrees and other units are not defined; use `none`")
        if any(axis.name == "point" for axis in fields.axes):
            yield Problem((), "scattered points have no distances along their axis; use `none`")


class GaussSpec(DistanceSpec):
    """The Gaussian exp(-d²/2 radius²), cut off where it is below a thousandth (3.7 radii)."""

    kind: Literal["gauss"] = "gauss"

    reference = "Hunt, Kostelich and Szunyogh 2007, section 3"

    def weight(self, distance: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return exp(-d²/2 radius²)."""
        return torch.exp(-(distance / self.radius).square() / 2)


class StepSpec(DistanceSpec):
    """1 up to the radius, 0 beyond."""

    kind: Literal["step"] = "step"

    reference = "Ott et al. 2004, A local ensemble Kalman filter for atmospheric data assimilation"

    def weight(self, distance: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return whether d <= radius."""
        return (distance <= self.radius).to(distance.dtype)


class GaspariCohnSpec(DistanceSpec):
    """The fifth-order piecewise rational function: nearly Gaussian, zero beyond twice its half-support c."""

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


AnyLocalization: TypeAlias = Annotated[
    GaspariCohnSpec | GaussSpec | NoLocalizationSpec | StepSpec, Family("localization")
]


class Neighbours(NamedTuple):
    """The observations that act on each grid point; a leading axis is 1 where experiments share sites."""

    place: Int[Tensor, "*site point near"]
    """Which of the observations; any where the weight is 0."""
    weight: Float[Tensor, "*site point near"]


class Tile(NamedTuple):
    """Neighbouring grid points, and the observations near them."""

    points: Int[Tensor, " point"]
    near: Int[Tensor, " near"]
    weight: Float[Tensor, "point near"]


class Taper:
    """Weights between observations and grid points, or one another; kept while the sites stay the same
    tensor.
    """

    def __init__(
        self,
        specs: Sequence[LocalizationSpec],
        domain: Domain,
        num_channels: int,
        reach: Float[Tensor, " obs"] | None = None,
    ) -> None:
        self._specs, self._domain, self._num_channels, self._reach = specs, domain, num_channels, reach
        self._index: Tensor | None = None
        self._points: Tensor | None = None
        self._obs: Tensor | None = None
        self._neighbours: Neighbours | None = None

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
        return cls(spec.of_each(setting), setting.domain, setting.num_channels, setting.reach)

    def to_points(self, index: Int[Tensor, "batch obs"]) -> Float[Tensor, "_ point obs"]:
        """Return weights between every grid point and the observed cells; one row where experiments share
        sites and radius.
        """
        self._refresh(index)
        if self._points is None:
            every = self._every_point(index)
            self._points = torch.stack(
                [self._weights(spec, every, sites, self._reach) for spec, sites in self._rows(index)]
            )
        return self._points

    def neighbours(self, index: Int[Tensor, "batch obs"]) -> Neighbours:
        """Return the same weights without those that are 0, made a chunk of points at a time."""
        self._refresh(index)
        if self._neighbours is None:
            size = max(1, CHUNK_BYTES // (64 * index.shape[1]))
            parts = [
                [
                    _nearest(self._weights(spec, points, sites, self._reach))
                    for points in self._every_point(index).split(size)
                ]
                for spec, sites in self._rows(index)
            ]
            near = max(part.place.shape[1] for row in parts for part in row)
            rows = [
                [
                    torch.cat([_padded(column, near) for column in columns])
                    for columns in zip(*row, strict=True)
                ]
                for row in parts
            ]
            self._neighbours = Neighbours(*(torch.stack(column) for column in zip(*rows, strict=True)))
        return self._neighbours

    def tiles(self, index: Int[Tensor, "batch obs"], size: int) -> Iterator[Tile]:
        """Yield blocks of grid points with the observations that may act on them, where every experiment has
        these sites and one taper: nothing is made for all pairs.
        """
        sites = index[0] // self._num_channels
        found, (spec,) = Sites(self._domain, sites), self._specs
        support = spec.support() * (1.0 if self._reach is None else float(self._reach.max()))
        for points in tiles(self._domain.shape, size):
            near = found.near(points, support)
            factor = None if self._reach is None else self._reach[near]
            yield Tile(points, near, self._weights(spec, points, sites[near], factor))

    def is_shared(self, index: Int[Tensor, "batch obs"]) -> bool:
        """Return whether every experiment has the same sites and taper."""
        return len(self._specs) == 1 and bool((index == index[:1]).all())

    def num_pairs(self, index: Int[Tensor, "batch obs"]) -> int:
        """Return the pairs of a grid point and an observation."""
        return math.prod(self._domain.shape) * index.shape[1]

    def _every_point(self, index: Tensor) -> Int[Tensor, " point"]:
        return torch.arange(math.prod(self._domain.shape), device=index.device)

    def to_obs(self, index: Int[Tensor, "batch obs"]) -> Float[Tensor, "_ obs obs"]:
        """Return weights among the observed cells."""
        self._refresh(index)
        if self._obs is None:
            pairs = None if self._reach is None else (self._reach[:, None] + self._reach) / 2
            self._obs = torch.stack(
                [self._weights(spec, sites, sites, pairs) for spec, sites in self._rows(index)]
            )
        return self._obs

    def _refresh(self, index: Tensor) -> None:
        if self._index is not index:
            self._index, self._points, self._obs, self._neighbours = index, None, None, None

    def _rows(self, index: Int[Tensor, "batch obs"]) -> Iterator[tuple[LocalizationSpec, Tensor]]:
        """Yield taper and sites of each experiment, once where all have the same."""
        sites = index // self._num_channels
        if len(self._specs) > 1:
            yield from zip(self._specs, sites, strict=True)
            return
        for row in sites[:1] if bool((index == index[:1]).all()) else sites:
            yield self._specs[0], row

    def _weights(self, spec: LocalizationSpec, points: Tensor, sites: Tensor, reach: Tensor | None) -> Tensor:
        gaps = distances(self._domain, points, sites)
        weights = spec.weight(gaps if reach is None else gaps / reach)
        return weights.masked_fill(weights < NEGLIGIBLE, 0.0)


def _nearest(weights: Float[Tensor, "point obs"]) -> Neighbours:
    """Return the weights that are not 0, the largest first."""
    near = max(1, int((weights > 0).sum(dim=1).max()))
    values, places = weights.topk(near)
    return Neighbours(places, values)


def _padded(column: Tensor, near: int) -> Tensor:
    return torch.nn.functional.pad(column, (0, near - column.shape[1]))
