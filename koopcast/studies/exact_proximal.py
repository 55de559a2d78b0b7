"""What makes the gradient of a convex network a proximal operator, before and after training."""

from collections.abc import Mapping, Sequence
from typing import Literal

import pandas as pd
import torch
from pydantic import PositiveInt

from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.numerics.arrays import normal
from koopcast.priors.inversion import jacobian
from koopcast.priors.lpn import LearnedProximal, LPNSpec
from koopcast.rng import torch_generator
from koopcast.studies.base import ALL, Findings, StudySpec
from koopcast.studies.laplace_proximal import laplace

METRICS = ("asymmetry", "least_eigenvalue", "inversion")


class ExactProximalSpec(StudySpec):
    """Jacobians of f at random points: those of a proximal operator are symmetric, without negative
    eigenvalues.
    """

    kind: Literal["exact_proximal"] = "exact_proximal"
    prior: LPNSpec = LPNSpec(
        hidden=32,
        layers=3,
        sigma=1.0,
        gamma_schedule=(2.0, 1.0),
        pretrain_steps=300,
        stage_steps=100,
        batch_size=128,
    )
    """The network and the training, on vectors of independent Laplace numbers."""
    size: PositiveInt = 8
    """Numbers of a vector."""
    points: PositiveInt = 100
    """Points, normal with standard deviation 2."""

    reference = "Fang, Buchanan and Sulam 2024, What's in a prior?; Gribonval and Nikolova 2020"

    def metrics(self) -> Mapping[str, str]:
        """Return the greatest difference of a Jacobian and its transpose, its least eigenvalue, and the
        greatest |f(y) - x| of y found for x = f(a random point).
        """
        return dict.fromkeys(METRICS, "1")

    def subjects(self) -> Mapping[str, Sequence[int]]:
        """Return `untrained` and `trained`."""
        return {"untrained": (), "trained": ()}

    def run(self, seed: int) -> Findings:
        """Look at the network, train it, look again."""
        info = FieldsInfo({"x": "1"}, (Axis("point", self.size, "index"),), TimeAxis(1, ""))
        network = self.prior.network(info, torch_generator(seed, "weights"))
        y = 2 * normal(self.points, self.size, generator=torch_generator(seed, "points"))
        scores: dict[str, dict[str, dict[str, float]]] = {metric: {} for metric in METRICS}
        for subject in self.subjects():
            if subject == "trained":
                network = network.float().requires_grad_().train()
                self.prior.train(
                    network,
                    lambda count, generator: laplace(count * self.size, generator).reshape(count, 1, -1),
                    seed,
                )
            prior = LearnedProximal(info, network, torch.zeros(1), torch.ones(1), self.prior.sigma)
            J = jacobian(prior.proximal, y)
            residual = prior.regulariser(prior.proximal(y))[1]
            values = (
                (J - J.mT).abs().max(),
                torch.linalg.eigvalsh(0.5 * (J + J.mT)).min(),
                residual.max(),
            )
            for metric, value in zip(METRICS, values, strict=True):
                scores[metric][subject] = {ALL: float(value)}
        table = pd.DataFrame({m: {n: v[ALL] for n, v in column.items()} for m, column in scores.items()})
        return Findings(scores, {"jacobians": table.rename_axis("network").reset_index()})
