"""Networks that learn to remove noise from Laplace numbers: mode, mean and median of the posterior."""

from collections.abc import Mapping, Sequence
from typing import Literal

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.priors.lpn import LearnedProximal, LPNSpec
from koopcast.progress import report
from koopcast.rng import torch_generator
from koopcast.studies.base import ALL, Findings, StudySpec

LOSSES: tuple[Literal["pm", "l1", "l2"], ...] = ("pm", "l1", "l2")
METRICS = ("soft_error", "mean_error", "inversion", "prior_error")
WIDTH, INNER = 4.0, 2.0
"""Where denoisers are compared, and where priors are."""


class LaplaceProximalSpec(StudySpec):
    """x of density ½ e^{-|x|}, y = x + N(0, 1): proximal matching tends to the soft threshold, the mode, and
    its prior to |x|; the square to the mean, the absolute value to the median.
    """

    kind: Literal["laplace_proximal"] = "laplace_proximal"
    prior: LPNSpec = LPNSpec(
        hidden=50,
        layers=2,
        sigma=1.0,
        gamma_schedule=(0.5,),
        pretrain_steps=4000,
        stage_steps=6000,
        batch_size=512,
        learning_rate=1e-3,
        stage_learning_rate=3e-4,
    )
    """The network and the training; its `loss` is each in turn."""

    reference = "Fang, Buchanan and Sulam 2024, What's in a prior?"

    def metrics(self) -> Mapping[str, str]:
        """Return the mean distance from the soft threshold and from the posterior mean for |y| ≤ 4; the
        greatest |f(y) - x| of inverted x and the greatest distance of R from |x|, up to a constant, for
        |x| ≤ 2.
        """
        return dict.fromkeys(METRICS, "1")

    def subjects(self) -> Mapping[str, Sequence[int]]:
        """Return the losses."""
        return dict.fromkeys(LOSSES, ())

    def run(self, seed: int) -> Findings:
        """Train a network with each loss, from the same weights on the same numbers."""
        y = torch.linspace(-WIDTH, WIDTH, 401, dtype=torch.float64)
        x = torch.linspace(-INNER, INNER, 81, dtype=torch.float64)
        scores: dict[str, dict[str, dict[str, float]]] = {metric: {} for metric in METRICS}
        table = pd.DataFrame({"y": y.numpy()})
        for done, loss in enumerate(LOSSES):
            prior = trained(self.prior.model_copy(update={"loss": loss}), seed)
            f = prior.proximal(y[:, None])[:, 0]
            R, residual = prior.regulariser(x[:, None])
            difference = R - x.abs()
            values = (
                (f - soft_threshold(y)).abs().mean(),
                (f - posterior_mean(y)).abs().mean(),
                residual.max(),
                # The best constant lies in the middle of the largest and the least difference.
                (difference.max() - difference.min()) / 2,
            )
            for metric, value in zip(METRICS, values, strict=True):
                scores[metric][loss] = {ALL: float(value)}
            table[loss] = f.numpy()
            report("loss", done + 1, len(LOSSES))
        return Findings(scores, {"denoisers": table})


def trained(spec: LPNSpec, seed: int) -> LearnedProximal:
    """Return a network that learned from Laplace numbers."""
    info = FieldsInfo({"x": "1"}, (Axis("point", 1, "index"),), TimeAxis(1, ""))
    network = spec.network(info, torch_generator(seed, "weights"))
    spec.train(network, laplace, seed)
    return LearnedProximal(info, network, torch.zeros(1), torch.ones(1), spec.sigma)


def laplace(count: int, generator: torch.Generator) -> Float[Tensor, "count 1 1"]:
    """Draw numbers of density ½ e^{-|x|}: the difference of two exponential ones."""
    uniform = torch.rand(2, count, 1, 1, generator=generator).clamp_min(torch.finfo(torch.float32).tiny)
    return uniform[0].log() - uniform[1].log()


def soft_threshold(y: Float[Tensor, " point"]) -> Float[Tensor, " point"]:
    """Return sign(y) max(|y| - 1, 0), the proximal operator of |x|."""
    return y.sign() * (y.abs() - 1).clamp_min(0)


def posterior_mean(y: Float[Tensor, " point"]) -> Float[Tensor, " point"]:
    """Return E[x | y] by quadrature."""
    x = torch.linspace(-30, 30, 60_001, dtype=torch.float64)
    weight = torch.softmax(-x.abs() - 0.5 * (y[:, None] - x).square(), dim=1)
    return weight @ x
