"""The regression behind random features: projections, choice of bandwidth and ridge, output layer."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.errors import DataError
from koopcast.numerics.low_rank import DENSE_LIMIT, truncated_svd
from koopcast.numerics.random_features import (
    Candidates,
    Choice,
    Distribution,
    HiddenLayer,
    Split,
    choose,
    draw_hidden,
    folds,
    regress,
    with_linear_part,
)
from koopcast.operators.fitted import Examples
from koopcast.operators.random_features_network import FeatureNetwork

MOST_MODES = 512
"""Output modes that are looked for where outputs and pairs are many."""


@dataclass(frozen=True)
class Method:
    """How a network is fitted."""

    distribution: Distribution
    decode_energy: float
    folds: int


def fit_features(
    network: FeatureNetwork,
    method: Method,
    train: Examples,
    valid: Examples | None,
    generator: torch.Generator,
) -> Mapping[str, float | int | str]:
    """Fit a network whose encoder is set, in place; return its facts.

    Raises:
        DataError: The inputs do not vary.
    """
    sizes = network.sizes
    values, Y = (part.flatten(1).to(torch.float64) for part in (train.inputs, train.outputs))
    level = Y.mean(dim=0)
    network.mean.copy_(values.mean(dim=0))
    network.scale.fill_(1.0)
    widest = float(network.code(values).abs().max())
    if widest == 0:
        raise DataError("the inputs of the training pairs do not vary", "train on more records")
    network.scale.fill_(1 / widest)
    D = _decoder(Y - level, method.decode_energy, generator) if sizes.has_decoder else None
    x, target = network.code(values), _coded(Y - level, D)
    layer = draw_hidden(method.distribution, sizes.activation, sizes.features, x, generator)
    held, splits = (x, target), folds(len(x), method.folds)
    if valid is not None:
        judged = (part.flatten(1).to(torch.float64) for part in (valid.inputs, valid.outputs))
        held, splits = _with_judges((x, target), network.code(next(judged)), _coded(next(judged) - level, D))
    candidates = Candidates(sizes.bandwidths, sizes.ridges, sizes.linear_part, center=True)
    choice: Choice | None = None
    bandwidth, ridge = sizes.bandwidths[0], sizes.ridges[0]
    if len(sizes.bandwidths) * len(sizes.ridges) > 1:
        choice = choose(layer, *held, splits, candidates, weights=train.weights)
        bandwidth, ridge = choice.bandwidth, choice.ridge
    H = with_linear_part(layer.features(layer.projected(x), bandwidth), x, sizes.linear_part)
    solved = regress(H, target, (ridge,), center=True, weights=train.weights)
    B, constant = solved.path.coefficients[0], solved.level - solved.shift @ solved.path.coefficients[0]
    _set(network, layer, bandwidth, B, D)
    network.offset.copy_(level + (constant if D is None else constant @ D))
    network.record(choice, (bandwidth, ridge), float(solved.path.condition_number[0]))
    return network.facts()


def _set(network: FeatureNetwork, layer: HiddenLayer, bandwidth: float, B: Tensor, D: Tensor | None) -> None:
    network.A.copy_(bandwidth * layer.A)
    network.b.copy_(bandwidth * layer.b)
    if D is not None:
        network.resize(len(D))
        network.decoder.copy_(D)
    network.head.copy_(B)


def _coded(Y: Float[Tensor, "pair value"], D: Tensor | None) -> Float[Tensor, "pair mode"]:
    return Y if D is None else Y @ D.mT


def _with_judges(
    train: tuple[Tensor, Tensor], x: Tensor, Y: Tensor
) -> tuple[tuple[Tensor, Tensor], list[Split]]:
    """Return training and validation rows in one, and the split between them."""
    rows, more = len(train[0]), len(x)
    together = torch.cat([train[0], x]), torch.cat([train[1], Y])
    return together, [(torch.arange(rows), torch.arange(rows, rows + more))]


def _decoder(
    departure: Float[Tensor, "pair value"], energy: float, generator: torch.Generator
) -> Float[Tensor, "mode value"]:
    """Return the principal directions that hold a share of the variance of the outputs.

    Raises:
        DataError: The outputs do not vary.
    """
    wanted = None if min(departure.shape) <= DENSE_LIMIT else MOST_MODES
    _, singular, directions = truncated_svd(departure, wanted, generator)
    if len(singular) == 0:
        raise DataError("the outputs of the training pairs do not vary", "train on more records")
    missing = departure.square().sum() - singular.square().cumsum(0)
    count = int((missing > (1 - energy) * departure.square().sum()).sum()) + 1
    return directions[:, : min(count, len(singular))].mT.contiguous()
