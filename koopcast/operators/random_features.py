"""Networks with one random, frozen hidden layer, solved for their output layer."""

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn

from koopcast.errors import DataError
from koopcast.grids import FieldsInfo
from koopcast.mapping import Signature
from koopcast.numerics.field_bases import low_frequencies
from koopcast.numerics.low_rank import truncated_svd
from koopcast.numerics.random_features import BANDWIDTHS, RIDGES, Activation, Distribution
from koopcast.operators.fitted import Examples, FittedOperatorSpec
from koopcast.operators.random_features_fit import Method, fit_features
from koopcast.operators.random_features_network import FeatureNetwork, Sizes
from koopcast.spec import Problem

Ridge = Annotated[float, Field(ge=0)] | Literal["auto"]
DEFAULT_CODE = 32
"""Numbers that a projection keeps where `encode_dim` is left open."""


class RandomFeaturesSpec(FittedOperatorSpec):
    """f(a) = Σ β σ(λ (w·a - b)) with random w and b: the output layer is a ridge regression, nothing is
    trained.
    """

    kind: Literal["random_features"] = "random_features"
    features: PositiveInt = 512
    """Neurons L. Without `ridge` at most five a training pair."""
    activation: Activation = "tanh"
    """σ."""
    distribution: Distribution = "uniform"
    """Law of w and b at bandwidth 1: on [-1, 1], standard normal, uniform with a log-uniform radius, or w
    along differences of training inputs with σ's centre at one of them."""
    bandwidth: PositiveFloat | Literal["auto"] = "auto"
    """λ; `auto`: the one of 2⁻², 2⁻¹, ..., 2¹⁰ with the smallest validation error."""
    ridge: Ridge = "auto"
    """Penalty in units of the mean square of a feature; `auto`: 10⁻¹⁰, 10⁻⁹, ..., 1, as the bandwidth."""
    encode: Literal["none", "pca", "fourier"] = "none"
    """What the neurons see of the input fields, scaled to [-1, 1]: all values, principal components, or
    coefficients of the lowest waves of each channel."""
    encode_dim: PositiveInt | None = None
    """Components, or waves a channel; default: 32, or as many as there are."""
    decode_energy: Annotated[float, Field(gt=0, le=1)] = 1 - 1e-6
    """Share of the variance of the outputs that their principal components hold, in which the regression is
    done; 1: no projection. The rest is never predicted: 0.999 leaves an error of 3 %."""
    linear_part: bool = False
    """Add a linear function of what the neurons see."""
    folds: PositiveInt = 1
    """Where the data have no `valid` part: training pairs left out in turn; 1: the last fifth, once."""

    any_resolution = False
    reference = (
        "Li, Sonoda, Cao, Wang and Liang 2023, How powerful are shallow neural networks with bandlimited "
        "random weights?, ICML; departs in the projections of fields and in the intercept"
    )

    @model_validator(mode="after")
    def _a_projection_has_a_size(self) -> "RandomFeaturesSpec":
        if self.encode == "none" and self.encode_dim is not None:
            raise ValueError("encode_dim: set encode to pca or fourier, or remove it")
        return self

    def check(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Refuse more neurons than the records can determine."""
        yield from super().check(fields)
        train = fields.parts.get("train", fields.whole)
        most = 5 * train.num_samples * train.num_times
        if self.ridge == 0 and self.features > most:
            message = f"{self.features} are above {most}, five a record; set ridge or lower features"
            yield Problem(("features",), message)

    def faults(self, signature: Signature) -> Iterator[Problem]:
        """Refuse a projection on more functions than there are."""
        yield from super().faults(signature)
        cells = math.prod(signature.shape)
        limit = cells if self.encode == "fourier" else cells * signature.channels_in
        if self.encode_dim is not None and self.encode_dim > limit:
            yield Problem(
                ("encode_dim",), f"{self.encode_dim} is above {limit}, what the fields have; lower it"
            )

    def build(self, signature: Signature, generator: torch.Generator) -> FeatureNetwork:
        """Return the network before its weights are drawn."""
        cells = math.prod(signature.shape)
        values = cells * signature.channels_in
        code = {
            "none": values,
            "pca": min(values, self.encode_dim or DEFAULT_CODE),
            "fourier": min(cells, self.encode_dim or DEFAULT_CODE) * signature.channels_in,
        }[self.encode]
        network = FeatureNetwork(
            Sizes(
                signature.shape,
                signature.channels_in,
                signature.channels_out,
                code,
                self.features,
                self.activation,
                self.linear_part,
                has_encoder=self.encode != "none",
                has_decoder=self.decode_energy < 1,
                bandwidths=BANDWIDTHS if self.bandwidth == "auto" else (self.bandwidth,),
                ridges=RIDGES if self.ridge == "auto" else (self.ridge,),
            )
        )
        if self.encode == "fourier":
            waves = low_frequencies(
                signature.shape,
                tuple(axis.periodic for axis in signature.axes),
                code // signature.channels_in,
            )
            network.encoder.copy_(torch.kron(waves, torch.eye(signature.channels_in, dtype=torch.float64)))
        return network

    def fit_network(
        self, network: nn.Module, train: Examples, valid: Examples | None, generator: torch.Generator
    ) -> Mapping[str, float | int | str]:
        """Project, draw the neurons, choose bandwidth and ridge, and solve for the output layer."""
        assert isinstance(network, FeatureNetwork)
        pairs = len(train.inputs)
        if self.ridge == 0 and self.features > 5 * pairs:
            raise DataError(
                f"{self.features} features are above five a training pair ({pairs} pairs)",
                "set `ridge` or lower `features`",
            )
        if self.encode == "pca":
            inputs = train.inputs.flatten(1).double()
            network.encoder.copy_(_components(inputs, network.sizes.code, generator))
        method = Method(self.distribution, self.decode_energy, self.folds)
        return fit_features(network, method, train, valid, generator)


def _components(
    values: Float[Tensor, "pair value"], count: int, generator: torch.Generator
) -> Float[Tensor, "value component"]:
    _, _, directions = truncated_svd(values - values.mean(dim=0), count, generator)
    if directions.shape[1] < count:
        raise DataError(
            f"{count} components asked, but the inputs vary in {directions.shape[1]} directions",
            "lower `encode_dim`",
        )
    return directions
