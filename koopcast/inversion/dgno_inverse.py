"""Coefficient of Darcy flow by the latent vector of a trained DGNO."""

from typing import Literal, cast

import torch
from jaxtyping import Float
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from koopcast.errors import InvalidInput
from koopcast.inversion.base import InversionSpec, LatentDecoder, Observed, Posterior
from koopcast.layers.perceptron import glorot
from koopcast.models import MapModel

HALVINGS = 10
"""The learning rate is halved after each tenth of the iterations."""
RIDGE = 1e-3
"""Added to the variances of the latent vector's entries."""
LIMIT = 0.999
"""Latent vectors end there: |β| < 1."""


class DGNOInverseSpec(InversionSpec):
    """min over β of w ‖u(x_obs) - y‖/‖y‖ + residuals + prior, decoders frozen; then a normal law around it.

    β = tanh(z), and z a small network's output for the input 1. The prior is normal, with mean and covariance
    of the encoded training fields. The law around the minimum has the inverse of JᵀJ/σ² + C⁻¹ as its
    covariance (Laplace), J the derivative of the observed values; fields are averaged over draws of it.
    """

    kind: Literal["dgno_inverse"] = "dgno_inverse"
    w_obs: PositiveFloat = 25.0
    """Weight w of the observations."""
    w_pde: NonNegativeFloat = 1.0
    """Weight of the equation's residuals."""
    prior_weight: NonNegativeFloat = 0.01
    """Weight of the prior, ½ (β - β̄)ᵀ C⁻¹ (β - β̄)."""
    iterations: PositiveInt = 500
    """Steps of Adam."""
    learning_rate: PositiveFloat = 1e-2
    """At the start; halved after each tenth."""
    hidden: PositiveInt = 64
    """Units of the two hidden layers of the small network."""
    draws: PositiveInt = 50
    """From the law around the minimum."""

    reference = "Zang and Koutsourelakis 2025 (DGenNO), there with stochastic variational inference"

    def invert(self, model: MapModel, observed: Observed, generator: torch.Generator) -> Posterior:
        """Return means and spreads over the law of β.

        Raises:
            InvalidInput: The model has no latent vector.
        """
        network = getattr(model, "network", None)
        if not isinstance(network, LatentDecoder):
            raise InvalidInput("the model has no decoders of a latent vector", "train a dgno")
        prior = Prior.of(network)
        beta = self._fitted(network, prior, observed, generator)
        laws = [
            prior.posterior(sensitivity(network, row, observed.coordinates()), float(std))
            for row, std in zip(beta, observed.std, strict=True)
        ]
        with torch.no_grad():
            found = [
                self._averaged(network, row, law, generator) for row, law in zip(beta, laws, strict=True)
            ]
        mean, std, solution = (
            torch.stack(part).reshape(-1, *observed.shape) for part in zip(*found, strict=True)
        )
        return Posterior(mean, solution, std)

    def _fitted(
        self, network: LatentDecoder, prior: "Prior", observed: Observed, generator: torch.Generator
    ) -> Float[Tensor, "sample latent"]:
        """Return the minimisers, all samples side by side."""
        samples = len(observed.values)
        start = Start(samples, self.hidden, len(prior.mean), generator)
        adam = torch.optim.AdamW(start.parameters(), lr=self.learning_rate, weight_decay=1e-4)
        halved = torch.optim.lr_scheduler.StepLR(adam, max(1, self.iterations // HALVINGS), 0.5)
        places = observed.coordinates()
        scale = observed.values.norm(dim=-1).clamp_min(1e-12)
        for _ in range(self.iterations):
            beta = torch.tanh(start())
            error = (network.solution_at(beta, places) - observed.values).norm(dim=-1) / scale
            # Each sample has parameters of its own, so the sum over samples minimises each.
            loss = self.w_obs * error.sum() + self.prior_weight * prior.distance(beta).sum()
            loss = loss + self.w_pde * samples * network.residual(beta, None, generator)
            adam.zero_grad()
            loss.backward()
            adam.step()
            halved.step()
        return torch.tanh(start()).detach()

    def _averaged(
        self,
        network: LatentDecoder,
        beta: Float[Tensor, " latent"],
        covariance: Float[Tensor, "latent latent"],
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return mean and standard deviation of the coefficient, and the mean solution, at the nodes."""
        root = torch.linalg.cholesky(covariance)
        noise = torch.randn(self.draws, len(beta), generator=generator, dtype=root.dtype)
        betas = (beta + (noise @ root.mT).to(beta)).clamp(-LIMIT, LIMIT)
        nodes = network.nodes(beta)
        logit = network.logit_at(betas, nodes)
        fields = network.coefficient_of(logit)
        variance = fields.var(0, correction=0) + network.spread_of(logit).square().mean(0)
        return fields.mean(0), variance.sqrt(), network.solution_at(betas, nodes).mean(0)


class Start(nn.Module):
    """z = W₃ silu(W₂ silu(w₁ + c₁) + c₂) + c₃, one such network a sample."""

    def __init__(self, samples: int, hidden: int, outputs: int, generator: torch.Generator) -> None:
        super().__init__()
        sizes = ((1, hidden), (hidden, hidden), (hidden, outputs))
        self.weights = nn.ParameterList(
            torch.stack([glorot(n, m, generator).weight.detach() for _ in range(samples)]) for n, m in sizes
        )
        self.biases = nn.ParameterList(torch.zeros(samples, 1, m) for _, m in sizes)

    def forward(self) -> Float[Tensor, "sample latent"]:
        """Return z of each sample."""
        h = torch.ones(len(self.weights[0]), 1, 1)
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            h = torch.baddbmm(bias, h if index == 0 else nn.functional.silu(h), weight)
        return h[:, 0]


class Prior:
    """Normal law of latent vectors, float64."""

    def __init__(self, mean: Float[Tensor, " latent"], covariance: Float[Tensor, "latent latent"]) -> None:
        self.mean = mean.double()
        widened = covariance.double() + RIDGE * torch.eye(len(mean), dtype=torch.float64)
        self.precision = torch.linalg.inv(widened)

    @classmethod
    def of(cls, network: LatentDecoder) -> "Prior":
        """Return that of the training fields."""
        mean, square = network.latent_mean.double(), network.latent_square.double()
        covariance = square - torch.outer(mean, mean)
        # Running moments are of different batches: what is not positive is cut.
        values, vectors = torch.linalg.eigh((covariance + covariance.mT) / 2)
        return cls(mean, (vectors * values.clamp_min(0)) @ vectors.mT)

    def distance(self, beta: Float[Tensor, "sample latent"]) -> Float[Tensor, " sample"]:
        """Return ½ (β - β̄)ᵀ C⁻¹ (β - β̄)."""
        apart = beta.double() - self.mean
        distance: Tensor = ((apart @ self.precision) * apart).sum(-1) / 2
        return distance

    def posterior(
        self, sensitivity: Float[Tensor, "obs latent"], std: float
    ) -> Float[Tensor, "latent latent"]:
        """Return (JᵀJ/σ² + C⁻¹)⁻¹."""
        scaled = sensitivity.double() / max(std, 1e-12)
        covariance: Tensor = torch.linalg.inv(scaled.mT @ scaled + self.precision)
        return covariance


def sensitivity(
    network: LatentDecoder, beta: Float[Tensor, " latent"], places: Float[Tensor, "obs 2"]
) -> Float[Tensor, "obs latent"]:
    """Return the derivative of the solution at places in β."""
    found = torch.autograd.functional.jacobian(lambda one: network.solution_at(one[None], places)[0], beta)
    return cast("Tensor", found)
