"""The network of a learned observer, and what its training makes small."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from koopcast.models import Compare, Context, NetworkModel
from koopcast.operators.fno_network import FNO
from koopcast.operators.noda_windows import Drawing, draw_window
from koopcast.operators.trained import OperatorDynamics

Advance = Callable[[Tensor], Tensor]
"""States `(batch, *space, channel)` -> those one record later."""
Correct = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(forecast, measurements, mask), all `(batch, *space, channel)` -> analysis."""


@dataclass(frozen=True)
class Aims:
    """What a training makes small; the words are those of the options."""

    drawing: Drawing
    pretrain: float
    pairs: int
    input_noise: float
    predictor_share: float
    """Weight of the windows' gradient in the predictor."""
    has_truth: bool
    """Whether windows are compared with records; else with measurements alone."""
    measurement_weight: float
    forecast_weight: float


class NODANetwork(nn.Module):
    """Predictor P, gain K and observation operator E of the recursion, all in normalised units.

    Called as a network it is the predictor, so that without a datum it is a model like any other.
    """

    def __init__(self, predictor: FNO, gain: nn.Module, observation: nn.Module | None, aims: Aims) -> None:
        super().__init__()
        self.predictor = predictor
        self.gain = gain
        self.observation = observation
        self.aims = aims

    def forward(self, x: Float[Tensor, "batch *space channel"]) -> Float[Tensor, "batch *space channel"]:
        """Return P(x)."""
        result: Tensor = self.predictor(x)
        return result

    def observed(self, x: Float[Tensor, "batch *space channel"]) -> Float[Tensor, "batch *space channel"]:
        """Return E(x), what an instrument everywhere would report: x itself where the operator is known."""
        return x if self.observation is None else x + self.observation(x)

    def correct(
        self,
        x: Float[Tensor, "batch *space channel"],
        value: Float[Tensor, "batch *space channel"],
        mask: Float[Tensor, "batch *space channel"],
    ) -> Float[Tensor, "batch *space channel"]:
        """Return x + K(x)[m (y - E(x))]; a member of the batch without any datum comes back as it is.

        Args:
            x: Forecast.
            value: Measurements y, finite; anything where there is none.
            mask: 1 where there is a measurement, else 0.
        """
        has_datum = (mask != 0).flatten(1).any(dim=1)
        if bool(has_datum.all()):
            return self._corrected(x, value, mask)
        rows = has_datum.nonzero()[:, 0]
        if len(rows) == 0:
            return x
        return x.index_copy(0, rows, self._corrected(x[rows], value[rows], mask[rows]))

    def _corrected(self, x: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        innovation = mask * (value - self.observed(x))
        result: Tensor = x + self.gain(x, innovation, mask)
        return result

    def objective(
        self,
        run: Float[Tensor, "batch frame *space channel"],
        model: NetworkModel,
        compare: Compare,
        context: Context,
    ) -> Float[Tensor, ""]:
        """Return the loss of the predictor on pairs of records, and past `pretrain` that of the recursion.

        The predictor learns from its pairs to the end; of the windows' gradient it takes `predictor_share`.
        """
        assert isinstance(model, OperatorDynamics), "an observer is dynamics"
        total = self._pairs_loss(run, model, compare, context)
        if context.is_training and context.progress < self.aims.pretrain:
            return total
        return total + self._window_loss(run, model, compare, context)

    def _pairs_loss(
        self,
        run: Float[Tensor, "batch frame *space channel"],
        model: OperatorDynamics,
        compare: Compare,
        context: Context,
    ) -> Float[Tensor, ""]:
        """Return the one-step loss of the predictor from records with a little noise."""
        count, generator = self.aims.pairs, context.generator
        first = torch.randint(run.shape[1] - 1, (count, len(run)), generator=generator).to(run.device)
        rows = torch.arange(len(run), device=run.device)
        losses = []
        for start in first:
            given = run[rows, start]
            noise = torch.randn(given.shape, generator=generator).to(run.device)
            noisy = given + self.aims.input_noise * model.inputs.std * noise
            losses.append((noisy, run[rows, start + 1]))
        given, target = (torch.stack(parts) for parts in zip(*losses, strict=True))
        following = model.advance(given.flatten(0, 1)[:, None]).unflatten(0, given.shape[:2])
        return torch.stack([compare(one, other) for one, other in zip(following, target, strict=True)]).mean()

    def _window_loss(
        self,
        run: Float[Tensor, "batch frame *space channel"],
        model: OperatorDynamics,
        compare: Compare,
        context: Context,
    ) -> Float[Tensor, ""]:
        """Return the mean over the window of ℓ(x, t) + λ ‖m (E(x) - y)‖² + μ ℓ(x⁻, t), ℓ the training loss.

        Without truth t, ‖m (E(x⁻) - y)‖² stands for the last term and the first one is left out.
        """
        aims = self.aims
        truth = model.masked(model.inputs.normalise(run))
        window = draw_window(truth, aims.drawing, model.inputs.std, context.generator)
        masks = window.masks * model.valid[..., None]
        forecasts, analyses = assimilated(
            self._normalised_step(model), self.correct, window.start, window.values, masks
        )
        measured = masks.sum().clamp_min(1)
        departure = (masks * (self._everywhere(analyses) - window.values)).square().sum() / measured
        if not aims.has_truth:
            ahead = (masks * (self._everywhere(forecasts) - window.values)).square().sum() / measured
            return aims.measurement_weight * departure + aims.forecast_weight * ahead
        error, ahead = (
            torch.stack(
                [
                    compare(model.masked(field), target)
                    for field, target in zip(
                        model.inputs.denormalise(fields).unbind(1), run[:, 1:].unbind(1), strict=True
                    )
                ]
            ).mean()
            for fields in (analyses, forecasts)
        )
        return error + aims.measurement_weight * departure + aims.forecast_weight * ahead

    def _everywhere(self, states: Float[Tensor, "batch time *space channel"]) -> Tensor:
        reported: Tensor = self.observed(states.flatten(0, 1)).unflatten(0, states.shape[:2])
        return reported

    def _normalised_step(self, model: OperatorDynamics) -> Advance:
        """Return one step in normalised units, whose weights take a share of the gradient alone."""
        share = self.aims.predictor_share
        weights = {
            name: value.detach() + share * (value - value.detach()) if share > 0 else value.detach()
            for name, value in self.predictor.named_parameters()
        }
        unit = model.inputs.std.where(model.inputs.std > 0, 1.0)

        def advance(x: Tensor) -> Tensor:
            change = model.outputs.denormalise(functional_call(self.predictor, weights, (x,)))
            return model.masked(x + change / unit if model.residual else model.inputs.normalise(change))

        return advance


def assimilated(
    advance: Advance,
    correct: Correct,
    start: Float[Tensor, "batch *space channel"],
    values: Float[Tensor, "batch time *space channel"],
    masks: Float[Tensor, "batch time *space channel"],
) -> tuple[Float[Tensor, "batch time *space channel"], Float[Tensor, "batch time *space channel"]]:
    """Return forecasts x⁻ₖ = A(xₖ₋₁) and analyses xₖ = x⁻ₖ + K(x⁻ₖ)[mₖ (yₖ - E(x⁻ₖ))] of a window.

    Args:
        advance: A, one step of the forecast model.
        correct: (forecast, measurements, mask) -> analysis.
        start: x₀, the state one step before the first measurement.
        values: Measurements y.
        masks: m, 1 where there are any.
    """
    state, forecasts, analyses = start, [], []
    for value, mask in zip(values.unbind(1), masks.unbind(1), strict=True):
        forecast = advance(state)
        state = correct(forecast, value, mask)
        forecasts.append(forecast)
        analyses.append(state)
    return torch.stack(forecasts, dim=1), torch.stack(analyses, dim=1)
