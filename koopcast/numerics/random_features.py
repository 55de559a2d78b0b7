"""Hidden layers with random, frozen parameters, and the choice of their bandwidth by validation."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from koopcast.errors import DataError
from koopcast.numerics.ridge_path import RidgePath, ridge_path

Activation: TypeAlias = Literal["sigmoid", "tanh", "relu", "gauss", "cos"]
Distribution: TypeAlias = Literal["uniform", "normal", "log_uniform", "data_pairs"]
BANDWIDTHS = tuple(2.0**power for power in range(-2, 11))
"""Bandwidths that are tried where none is given."""
RIDGES = tuple(10.0**power for power in range(-10, 1))
"""Ridge penalties that are tried where none is given."""
LEAST_RADIUS = 1e-3
"""Smallest share of the bandwidth that a log-uniform law draws."""
Split: TypeAlias = tuple[Int[Tensor, " learn"], Int[Tensor, " judge"]]
"""Rows to fit and rows on which the fit is judged."""


def activate(kind: Activation, z: Float[Tensor, "*batch feature"]) -> Float[Tensor, "*batch feature"]:
    """Return σ(z): 1/(1 + e^{-z}), tanh z, max(z, 0), e^{-z²} or cos z; finite for every finite z."""
    match kind:
        case "sigmoid":
            return torch.sigmoid(z)
        case "tanh":
            return torch.tanh(z)
        case "relu":
            return torch.relu(z)
        case "gauss":
            return torch.exp(-z.square())
        case "cos":
            return torch.cos(z)


@dataclass(frozen=True)
class HiddenLayer:
    """x -> σ(λ (x A - b)), of bandwidth λ; A and b are those of bandwidth 1."""

    A: Float[Tensor, "input feature"]
    b: Float[Tensor, " feature"]
    activation: Activation

    def projected(self, x: Float[Tensor, "row input"]) -> Float[Tensor, "row feature"]:
        """Return x A - b, from which the features of every bandwidth follow."""
        return x @ self.A - self.b

    def features(self, projected: Float[Tensor, "row feature"], bandwidth: float) -> Tensor:
        """Return σ(λ z) of what `projected` returned."""
        return activate(self.activation, bandwidth * projected)

    def narrowed(self, features: int) -> "HiddenLayer":
        """Return the first `features` neurons alone."""
        return HiddenLayer(self.A[:, :features], self.b[:features], self.activation)


def draw_hidden(
    distribution: Distribution,
    activation: Activation,
    features: int,
    x: Float[Tensor, "row input"],
    generator: torch.Generator,
) -> HiddenLayer:
    """Draw neurons of bandwidth 1, independent of one another, float64.

    `uniform`: a and b on [-1, 1]; `normal`: standard normal; `log_uniform`: uniform times a radius of
    log-uniform law on [1e-3, 1]; `data_pairs`: a = (x' - x)/‖x' - x‖² and b = a·x for rows x, x' of the data,
    so that z is 0 at x and 1 at x'.

    Raises:
        DataError: Pairs are asked for, and all rows are equal.
    """
    inputs = x.shape[1]
    if distribution == "data_pairs":
        A, b = _of_pairs(features, x, generator)
        return HiddenLayer(A, b, activation)
    shape = (inputs + 1, features)
    if distribution == "normal":
        drawn = torch.randn(shape, generator=generator, dtype=torch.float64)
    else:
        drawn = 2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1
    if distribution == "log_uniform":
        share = torch.rand(features, generator=generator, dtype=torch.float64)
        drawn = drawn * torch.exp(math.log(LEAST_RADIUS) * share)
    return HiddenLayer(drawn[:-1].contiguous(), drawn[-1].contiguous(), activation)


def _of_pairs(
    features: int, x: Float[Tensor, "row input"], generator: torch.Generator
) -> tuple[Float[Tensor, "input feature"], Float[Tensor, " feature"]]:
    rows = len(x)
    first = torch.randint(rows, (features,), generator=generator)
    second = torch.randint(rows, (features,), generator=generator)
    difference = x[second] - x[first]
    squared = difference.square().sum(dim=1)
    # A pair of equal rows points nowhere: the nearest row of the list that differs takes the second place.
    for shift in range(1, rows):
        equal = squared == 0
        if not bool(equal.any()):
            break
        difference = torch.where(equal[:, None], x[(first + shift) % rows] - x[first], difference)
        squared = difference.square().sum(dim=1)
    if bool((squared == 0).any()):
        raise DataError("all inputs are equal, so no pair of them differs", "take another distribution")
    A = (difference / squared[:, None]).mT.contiguous()
    return A, (A * x[first].mT).sum(dim=0)


@dataclass(frozen=True)
class Choice:
    """A bandwidth and a ridge, and how the others did."""

    bandwidth: float
    ridge: float
    bandwidths: tuple[float, ...]
    ridges: tuple[float, ...]
    errors: Float[Tensor, "bandwidth ridge"]
    """‖Y - Ŷ‖ / ‖Y‖ on the rows that were left out, summed over splits."""

    @property
    def error(self) -> float:
        """Return the smallest of the errors."""
        return float(self.errors.min())


@dataclass(frozen=True)
class Candidates:
    """Bandwidths and ridges to choose from, and what the features are fitted with."""

    bandwidths: tuple[float, ...] = BANDWIDTHS
    ridges: tuple[float, ...] = RIDGES
    linear_part: bool = False
    """Whether the inputs are features too."""
    center: bool = False
    """Whether features and targets lose their mean over the rows of the fit: an intercept without penalty."""


@dataclass(frozen=True)
class Regression:
    """Y ≈ level + (H - shift) B, with one B a ridge."""

    path: RidgePath
    shift: Float[Tensor, " feature"]
    level: Float[Tensor, " target"]


def regress(
    H: Float[Tensor, "row feature"],
    Y: Float[Tensor, "row target"],
    ridges: Sequence[float],
    *,
    center: bool = False,
    weights: Float[Tensor, " row"] | None = None,
) -> Regression:
    """Return the ridge regressions of Y on H; rows count by their weights, default all alike."""
    shift, level = H.new_zeros(H.shape[1]), Y.new_zeros(Y.shape[1])
    if weights is None:
        if center:
            shift, level = H.mean(dim=0), Y.mean(dim=0)
        return Regression(ridge_path(H - shift, Y - level, ridges), shift, level)
    if center:
        shift, level = weights @ H / weights.sum(), weights @ Y / weights.sum()
    root = weights.sqrt()[:, None]
    return Regression(ridge_path(root * (H - shift), root * (Y - level), ridges), shift, level)


def choose(
    layer: HiddenLayer,
    x: Float[Tensor, "row input"],
    Y: Float[Tensor, "row target"],
    splits: Sequence[Split],
    candidates: Candidates,
    *,
    weights: Float[Tensor, " weighted"] | None = None,
) -> Choice:
    """Return the pair with the smallest error on the rows left out; the first of equal ones."""
    squared = held_out(layer, x, Y, splits, candidates, weights=weights).sum(dim=2)
    size = sum(float(Y[judge].square().sum()) for _, judge in splits)
    errors = (squared / max(size, torch.finfo(torch.float64).tiny)).sqrt().nan_to_num(nan=math.inf)
    row, column = divmod(int(errors.argmin()), len(candidates.ridges))
    return Choice(
        candidates.bandwidths[row],
        candidates.ridges[column],
        candidates.bandwidths,
        candidates.ridges,
        errors,
    )


def held_out(
    layer: HiddenLayer,
    x: Float[Tensor, "row input"],
    Y: Float[Tensor, "row target"],
    splits: Sequence[Split],
    candidates: Candidates,
    *,
    weights: Float[Tensor, " weighted"] | None = None,
) -> Float[Tensor, "bandwidth ridge target"]:
    """Return the sum of squared errors of each target on the rows left out, over all splits.

    The layer is drawn once and projects the data once, whatever the bandwidth. `weights`, of the rows that
    any split fits, which come first, enter the fits alone.
    """
    z = layer.projected(x)
    result = torch.zeros(len(candidates.bandwidths), len(candidates.ridges), Y.shape[1], dtype=torch.float64)
    for place, bandwidth in enumerate(candidates.bandwidths):
        H = with_linear_part(layer.features(z, bandwidth), x, candidates.linear_part)
        for learn, judge in splits:
            own = None if weights is None else weights[learn]
            fit = regress(H[learn], Y[learn], candidates.ridges, center=candidates.center, weights=own)
            found = fit.level + (H[judge] - fit.shift) @ fit.path.coefficients
            result[place] += (found - Y[judge]).square().sum(dim=1)
    return result


def with_linear_part(
    H: Float[Tensor, "row feature"], x: Float[Tensor, "row input"], linear_part: bool
) -> Float[Tensor, "row more"]:
    """Return the features, followed by the inputs where they are asked for."""
    return torch.cat([H, x], dim=1) if linear_part else H


def folds(rows: int, count: int, order: Int[Tensor, " row"] | None = None) -> list[Split]:
    """Return `count` splits whose judged blocks cover all rows once; with 1, the last fifth is judged.

    Blocks hold neighbours in `order`, default the order of the rows: those of one trajectory stay together.
    """
    order = torch.arange(rows) if order is None else order
    if count == 1:
        cut = min(rows - 1, rows - rows // 5)
        return [(order[:cut], order[cut:])]
    edges = [round(rows * fold / count) for fold in range(count + 1)]
    return [(torch.cat([order[:start], order[stop:]]), order[start:stop]) for start, stop in pairwise(edges)]
