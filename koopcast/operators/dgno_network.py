"""DGNO as a network: coefficient, solution and flux of Darcy flow are decoded from one latent vector."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from koopcast.errors import DataError
from koopcast.layers.field_encoder import Encoder, FieldEncoder
from koopcast.layers.positions import grid_positions
from koopcast.layers.towers import LayeredProduct, TowerSizes
from koopcast.models import Compare, Context, NetworkModel
from koopcast.operators.dgno_residuals import Centres, balance, weak_flux_law

FieldKind = Literal["binary", "continuous"]
FluxLaw = Literal["weak", "pointwise"]
RISE = 0.07
"""max u ≈ 0.0737 f / a on the unit square with constant a."""
STEEPNESS = 0.25
"""Size of |∇u| in units of f / a."""
MEMORY = 0.99
"""Of the running moments of the latent vectors, a step."""


@dataclass(frozen=True)
class Weights:
    """Weights of the parts of the objective."""

    pde: float = 1.0
    balance: float = 0.2
    data: float = 1.0
    label: float = 1.0


@dataclass(frozen=True)
class Architecture:
    """Sizes and choices of a DGNO."""

    shape: tuple[int, int]
    latent: int
    field: FieldKind
    centres: Centres
    encoder: Encoder = "cnn"
    hidden: tuple[int, ...] = (16, 32)
    solution: TowerSizes = dataclasses.field(default_factory=TowerSizes)
    coefficient: TowerSizes = dataclasses.field(default_factory=TowerSizes)
    flux_law: FluxLaw = "weak"
    source: float = 1.0
    weights: Weights = dataclasses.field(default_factory=Weights)
    labelled: float = 0.0


class DGNO(nn.Module):
    """a -> β = tanh(e(a)) -> u(x) = sin πx₁ sin πx₂ U(β, x), with s(β, x) and a(β, x) beside it.

    `low` and `high` are the two values of a binary field, or mean -/+ standard deviation of a continuous one.
    """

    low: Tensor
    high: Tensor
    latent_mean: Tensor
    latent_square: Tensor

    def __init__(self, chosen: Architecture, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.architecture = chosen
        self.encoder = FieldEncoder(
            chosen.encoder,
            chosen.shape,
            (False, False),
            channels=1,
            hidden=chosen.hidden,
            outputs=chosen.latent,
            generator=generator,
        )
        self.solution = LayeredProduct(chosen.latent, 2, chosen.solution, generator=generator)
        self.flux = LayeredProduct(
            chosen.latent, 2, chosen.solution, outputs=2, copies=2, generator=generator
        )
        self.coefficient = LayeredProduct(chosen.latent, 2, chosen.coefficient, generator=generator)
        self.register_buffer("low", torch.tensor(0.5))
        self.register_buffer("high", torch.tensor(1.5))
        self.register_buffer("latent_mean", torch.zeros(chosen.latent))
        self.register_buffer("latent_square", torch.eye(chosen.latent))

    def forward(self, x: Float[Tensor, "batch y x 1"]) -> Float[Tensor, "batch y x 1"]:
        """Return u of the coefficient `x`, both in physical units."""
        return self.solution_at(self.encode(x), self.nodes(x)).reshape(x.shape)

    def nodes(self, like: Tensor) -> Float[Tensor, "point 2"]:
        """Return the coordinates of the grid."""
        shape = self.architecture.shape
        grid = grid_positions(shape, (False, False), dtype=like.dtype, device=like.device)
        return grid.flatten(0, 1)

    def encode(self, a: Float[Tensor, "batch y x 1"]) -> Float[Tensor, "batch latent"]:
        """Return β."""
        scaled = (2 * a - self.low - self.high) / (self.high - self.low)
        result: Tensor = torch.tanh(self.encoder(scaled))
        return result

    def solution_at(
        self, beta: Float[Tensor, "batch latent"], points: Float[Tensor, "point 2"]
    ) -> Float[Tensor, "batch point"]:
        """Return u, 0 on the boundary of the unit square."""
        mollifier = torch.sin(math.pi * points).prod(-1)
        u: Tensor = self._rise() * mollifier * self.solution(beta, 2 * points - 1)[..., 0]
        return u

    def gradient_at(
        self, beta: Float[Tensor, "batch latent"], points: Float[Tensor, "point 2"]
    ) -> Float[Tensor, "batch point 2"]:
        """Return ∇u."""
        wave, turn = torch.sin(math.pi * points), math.pi * torch.cos(math.pi * points)
        # Both directions of the place, in the coordinates 2x - 1 of the trunk.
        steps = (2 * torch.eye(2).to(points))[:, None].expand(2, len(points), 2)
        value, slopes = self.solution.with_slopes(beta, 2 * points - 1, steps)
        inner = wave.prod(-1, keepdim=True) * slopes[..., 0].mT
        return self._rise() * (inner + turn * wave.flip(-1) * value)

    def flux_at(
        self, beta: Float[Tensor, "batch latent"], points: Float[Tensor, "point 2"]
    ) -> Float[Tensor, "batch point 2"]:
        """Return s."""
        result: Tensor = 0.2 * self.architecture.source * self.flux(beta, 2 * points - 1)
        return result

    def logit_at(
        self, beta: Float[Tensor, "batch latent"], points: Float[Tensor, "point 2"]
    ) -> Float[Tensor, "batch point"]:
        """Return what decides on the coefficient: the logit of its high value, or its scaled value."""
        result: Tensor = self.coefficient(beta, 2 * points - 1)[..., 0]
        return result

    def coefficient_of(self, logit: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Return the mean of a: low + (high - low) p of a binary field."""
        if self.architecture.field == "binary":
            return self.low + (self.high - self.low) * torch.sigmoid(logit)
        return (self.low + self.high) / 2 + (self.high - self.low) / 2 * logit

    def spread_of(self, logit: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Return the standard deviation of a: (high - low) √(p (1 - p)) of a binary field, else 0."""
        if self.architecture.field == "continuous":
            return torch.zeros_like(logit)
        share = torch.sigmoid(logit)
        return (self.high - self.low) * (share * (1 - share)).sqrt()

    def residual(
        self,
        beta: Float[Tensor, "batch latent"],
        coefficient: Float[Tensor, "batch y x"] | None,
        generator: torch.Generator,
    ) -> Float[Tensor, ""]:
        """Return the mean square of the weak residuals at new centres, in units of the problem.

        The coefficient is that of the nearest node, or what β says of it.
        """
        chosen = self.architecture
        seen = chosen.centres.draw(generator)
        points = seen.points
        a = (
            self.coefficient_of(self.logit_at(beta, points))
            if coefficient is None
            else nearest(coefficient, points)
        )
        s = self.flux_at(beta, points)
        if chosen.flux_law == "weak":
            law = weak_flux_law(seen, a, self.solution_at(beta, points), s)
        else:
            law = s / a[..., None] - self.gradient_at(beta, points)
        steepness = STEEPNESS * abs(chosen.source) / self._middle()
        kept = balance(seen, s, chosen.source) / chosen.source
        return (law / steepness).square().sum(-1).mean() + chosen.weights.balance * kept.square().mean()

    def objective(
        self,
        run: Float[Tensor, "batch frame y x channel"],
        model: NetworkModel,
        compare: Compare,
        context: Context,
    ) -> Float[Tensor, ""]:
        """Return w_pde residuals + w_data misfit of the coefficient + w_label error of labelled solutions."""
        signature, names = model.signature, tuple(model.info.variables)
        given = signature.given(run, names)
        a, weights = given[:, 0], self.architecture.weights
        beta = self.encode(a)
        if context.is_training:
            self._remember(beta)
        loss = weights.pde * self.residual(beta, a[..., 0], context.generator)
        if weights.data > 0:
            loss = loss + weights.data * self.misfit(beta, a[..., 0])
        chosen = labelled(a[..., 0], self.architecture.labelled)
        if context.is_training and bool(chosen.any()):
            target = signature.target(run, names)[chosen][:, 0]
            u = self.solution_at(beta[chosen], self.nodes(a)).reshape(target.shape)
            loss = loss + weights.label * compare(u, target, given[chosen])
        return loss

    def misfit(self, beta: Float[Tensor, "batch latent"], a: Float[Tensor, "batch y x"]) -> Float[Tensor, ""]:
        """Return the cross entropy of a binary coefficient at the nodes, or the relative error."""
        logit, truth = self.logit_at(beta, self.nodes(beta)), a.flatten(1)
        if self.architecture.field == "binary":
            share = (truth - self.low) / (self.high - self.low)
            entropy: Tensor = nn.functional.binary_cross_entropy_with_logits(logit, share)
            return entropy
        error = self.coefficient_of(logit) - truth
        relative: Tensor = (error.norm(dim=-1) / truth.norm(dim=-1)).mean()
        return relative

    @torch.no_grad()
    def calibrate(self, inputs: Float[Tensor, "value"]) -> None:
        """Take the two values of a binary coefficient, or the spread of a continuous one.

        Raises:
            DataError: A coefficient that is not positive, or a binary one that has not two values.
        """
        if float(inputs.min()) <= 0:
            raise DataError(f"the coefficient falls to {float(inputs.min()):g}", "dgno takes positive ones")
        if self.architecture.field == "continuous":
            self.low.copy_(inputs.mean() - inputs.std())
            self.high.copy_(inputs.mean() + inputs.std())
            return
        values = torch.unique(inputs)
        if len(values) != 2:
            raise DataError(
                f"the coefficient has {len(values)} values and a binary field exactly two",
                "set field: continuous, or take a two-phase coefficient",
            )
        self.low.copy_(values[0])
        self.high.copy_(values[1])

    @torch.no_grad()
    def _remember(self, beta: Float[Tensor, "batch latent"]) -> None:
        """Move the running moments of β towards those of the batch."""
        self.latent_mean.lerp_(beta.mean(0), 1 - MEMORY)
        self.latent_square.lerp_(beta.mT @ beta / len(beta), 1 - MEMORY)

    def _middle(self) -> Tensor:
        return (self.low + self.high) / 2

    def _rise(self) -> Tensor:
        return RISE * self.architecture.source / self._middle()


def nearest(
    field: Float[Tensor, "batch y x"], points: Float[Tensor, "point 2"]
) -> Float[Tensor, "batch point"]:
    """Return the values at the nodes nearest to points of the unit square."""
    sizes = torch.tensor(field.shape[1:], device=points.device) - 1
    y, x = (points * sizes).round().to(torch.int64).unbind(-1)
    return field[:, y, x]


def labelled(a: Float[Tensor, "batch y x"], fraction: float) -> Bool[Tensor, " batch"]:
    """Return which samples have their solution known: a fixed function of their coefficients decides, so that
    a sample has the same answer in every epoch.
    """
    if fraction <= 0:
        return torch.zeros(len(a), dtype=torch.bool, device=a.device)
    values = a.flatten(1).double()
    phase = values @ torch.sin(torch.arange(1, values.shape[1] + 1, device=a.device).double() ** 2)
    return (1000 * phase) % 1 < fraction
