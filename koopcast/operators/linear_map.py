"""The linear map of all input values to all output values, the baseline of every comparison."""

import math
from collections.abc import Iterator, Mapping
from typing import Literal

import torch
from torch import nn

from koopcast.mapping import Signature
from koopcast.numerics.random_features import RIDGES
from koopcast.operators.fitted import Examples, FittedOperatorSpec
from koopcast.operators.random_features import Ridge
from koopcast.operators.random_features_fit import Method, fit_features
from koopcast.operators.random_features_network import FeatureNetwork, Sizes
from koopcast.spec import Problem

MOST_WEIGHTS = 50_000_000
"""400 MB in double precision."""


class LinearMapSpec(FittedOperatorSpec):
    """u = W a + c over whole fields, by ridge regression: what a method must beat."""

    kind: Literal["linear_map"] = "linear_map"
    ridge: Ridge = "auto"
    """Penalty in units of the mean square of an input; `auto`: the one of 10⁻¹⁰, ..., 1 with the smallest
    validation error, on a fifth of the training pairs where the data have no `valid` part."""

    any_resolution = False
    reference = "Hoerl and Kennard 1970, Ridge regression, Technometrics"

    def faults(self, signature: Signature) -> Iterator[Problem]:
        """Refuse grids whose matrix does not fit into memory."""
        yield from super().faults(signature)
        size = math.prod(signature.shape) ** 2 * signature.channels_in * signature.channels_out
        if size > MOST_WEIGHTS:
            yield Problem(
                (), f"{size} weights are above {MOST_WEIGHTS}; take random_features with encode: pca"
            )

    def build(self, signature: Signature, generator: torch.Generator) -> FeatureNetwork:
        """Return the map before it is fitted."""
        return FeatureNetwork(
            Sizes(
                signature.shape,
                signature.channels_in,
                signature.channels_out,
                code=math.prod(signature.shape) * signature.channels_in,
                features=0,
                activation="tanh",
                linear_part=True,
                has_encoder=False,
                has_decoder=False,
                bandwidths=(1.0,),
                ridges=RIDGES if self.ridge == "auto" else (self.ridge,),
            )
        )

    def fit_network(
        self, network: nn.Module, train: Examples, valid: Examples | None, generator: torch.Generator
    ) -> Mapping[str, float | int | str]:
        """Solve for the matrix."""
        assert isinstance(network, FeatureNetwork)
        return fit_features(network, Method("uniform", 1.0, 1), train, valid, generator)
