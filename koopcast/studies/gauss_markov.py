"""The structure of linear-Gaussian analyses: projections, residuals, and the least of all covariances."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import pandas as pd
import torch
from jaxtyping import Float
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from koopcast.assimilation.backgrounds.climatological import ClimatologicalSpec
from koopcast.assimilation.base import Climatology, Observed, Setting
from koopcast.assimilation.blue import BLUESpec
from koopcast.assimilation.etkf import ETKFSpec
from koopcast.numerics.arrays import normal
from koopcast.numerics.ensembles import split
from koopcast.numerics.regression import Regression, violations
from koopcast.rng import torch_generator
from koopcast.studies.base import ALL, Findings, StudySpec

VIOLATION = "violation"
SUBJECTS = ("unweighted", "weighted", "deficient", "update", "covariance", "forms", "competitors", "etkf")


class GaussMarkovSpec(StudySpec):
    """Identities of estimation and prediction on random problems; a score is the largest relative violation.

    `unweighted`, `weighted`, `deficient` (dependent columns, pseudoinverse): the pair of maps itself.
    `update`, `covariance`: stacked least squares of background and observations, beside Kalman's formulas.
    `forms`: primal and dual BLUE by every solver, for a B of the condition that is given.
    `competitors`: how far below 0 the covariance of another unbiased estimator, less the best one's, falls.
    `etkf`: its mean increment lies in the span of the anomalies, and its residual is orthogonal to what they
    predict. An analysis with localisation is no projection, and so is not among them.
    """

    kind: Literal["gauss_markov"] = "gauss_markov"
    rows: int = Field(50, ge=6)
    """Observations of a regression."""
    columns: int = Field(4, ge=2)
    """Parameters."""
    states: int = Field(12, ge=4)
    """Entries of a state; every other one is observed."""
    members: int = Field(8, ge=3)
    """Members of the ensemble."""
    competitors: PositiveInt = 100
    """Other unbiased estimators."""
    condition: PositiveFloat = 1e6
    """Of B where forms are compared."""

    reference = (
        "Kamiura 2025, The Gauss-Markov Adjunction; of its enriched version naturality is read as the "
        "inequality |G(r)| <= |G| |r|"
    )

    def metrics(self) -> Mapping[str, str]:
        """Return the largest violation."""
        return {VIOLATION: "1"}

    def subjects(self) -> Mapping[str, Sequence[int]]:
        """Return the checks."""
        return dict.fromkeys(SUBJECTS, ())

    def run(self, seed: int) -> Findings:
        """Draw each problem and check it."""
        checks: dict[str, Callable[[torch.Generator], dict[str, float]]] = {
            "unweighted": self._unweighted,
            "weighted": self._weighted,
            "deficient": self._deficient,
            "update": self._update,
            "covariance": self._covariance,
            "forms": self._forms,
            "competitors": self._competitors,
            "etkf": self._etkf,
        }
        rows = [
            (name, identity, value)
            for name, check in checks.items()
            for identity, value in check(torch_generator(seed, self.kind, name)).items()
        ]
        table = pd.DataFrame(rows, columns=["check", "identity", VIOLATION])
        worst = table.groupby("check", sort=False)[VIOLATION].max()
        return Findings(
            {VIOLATION: {name: {ALL: float(worst[name])} for name in SUBJECTS}}, {"identities": table}
        )

    def _regression(self, generator: torch.Generator, is_weighted: bool) -> tuple[Regression, Tensor, Tensor]:
        X = normal(self.rows, self.columns, generator=generator)
        R = covariance(self.rows, generator) if is_weighted else None
        a, y = (normal(size, generator=generator) for size in (self.columns, self.rows))
        return Regression.of(X, R), a, y

    def _unweighted(self, generator: torch.Generator) -> dict[str, float]:
        return violations(*self._regression(generator, False))

    def _weighted(self, generator: torch.Generator) -> dict[str, float]:
        return violations(*self._regression(generator, True))

    def _deficient(self, generator: torch.Generator) -> dict[str, float]:
        regression, a, y = self._regression(generator, False)
        X = torch.cat((regression.X[:, :-1], regression.X[:, :1] - regression.X[:, 1:2]), dim=1)
        return violations(Regression.of(X, pseudoinverse=True), a, y)

    def _update(self, generator: torch.Generator) -> dict[str, float]:
        return self._kalman(generator)[0]

    def _covariance(self, generator: torch.Generator) -> dict[str, float]:
        return self._kalman(generator)[1]

    def _kalman(self, generator: torch.Generator) -> tuple[dict[str, float], dict[str, float]]:
        """Compare the regression of (x_b, y) on (1, H) with Kalman's update: means, covariances."""
        n = self.states
        B, H = covariance(n, generator), torch.eye(n, dtype=torch.float64)[::2]
        R = covariance(len(H), generator)
        xb, y = normal(n, generator=generator), normal(len(H), generator=generator)
        stacked = Regression.of(torch.cat((torch.eye(n, dtype=B.dtype), H)), torch.block_diag(B, R))
        xa = stacked.estimate(torch.cat((xb, y)))
        K = torch.linalg.solve(H @ B @ H.mT + R, H @ B).mT
        P = B - K @ H @ B
        information = torch.linalg.inv(B) + H.mT @ torch.linalg.solve(R, H)
        projection = stacked.predict(stacked.gain())
        freedom = torch.trace(projection[n:, n:])
        means = {
            "kalman": relative(xa, xb + K @ (y - H @ xb)),
            "degrees_of_freedom": relative(freedom, torch.trace(H @ K)),
        } | violations(stacked, xb, torch.cat((xb, y)))
        covariances = {
            "reduced": relative(stacked.covariance(), P),
            "information": relative(stacked.covariance(), torch.linalg.inv(information)),
        }
        return means, covariances

    def _forms(self, generator: torch.Generator) -> dict[str, float]:
        """Compare BLUE in both forms by all solvers with the first."""
        n = self.states
        Q = torch.linalg.qr(normal(n, n, generator=generator)).Q
        spread = torch.logspace(0, torch.tensor(self.condition).log10().item() / 2, n, dtype=torch.float64)
        samples = torch.cat((Q * spread, -Q * spread), dim=1).mT
        setting = Setting(climatology=Climatology(samples, samples))
        x = normal(1, 1, n, generator=generator)
        seen = self._observed(x, generator)
        increments = {
            f"{form}_{solver}": BLUESpec(
                background=ClimatologicalSpec(factor=1.0), form=form, solver=solver, tolerance=1e-14
            )
            .build(setting)(x, seen, generator)
            .ensemble
            - x
            for form in ("primal", "dual")
            for solver in ("cholesky", "qr", "cg")
        }
        expected = increments["dual_qr"]
        return {name: relative(increment, expected) for name, increment in increments.items()}

    def _observed(self, ensemble: Float[Tensor, "1 member state"], generator: torch.Generator) -> Observed:
        index = torch.arange(0, self.states, 2)[None]
        value = normal(*index.shape, generator=generator)
        variance = 0.5 + normal(*index.shape, generator=generator).square()
        return Observed.of(value, variance, ensemble[..., index[0]], index)

    def _competitors(self, generator: torch.Generator) -> dict[str, float]:
        """Every L with L X = 1 is G + Z (1 - Π): its covariance is not below that of G."""
        best, _, _ = self._regression(generator, True)
        R, G = best.root @ best.root.mT, best.gain()
        rest = torch.eye(self.rows, dtype=R.dtype) - best.X @ G
        bias, least = 0.0, 0.0
        for _ in range(self.competitors):
            L = G + normal(*G.shape, generator=generator) @ rest
            difference = L @ R @ L.mT - G @ R @ G.mT
            bias = max(bias, relative(L @ best.X, torch.eye(self.columns, dtype=R.dtype)))
            least = min(least, float(torch.linalg.eigvalsh((difference + difference.mT) / 2)[0]))
        return {"unbiased": bias, "least_eigenvalue": -least}

    def _etkf(self, generator: torch.Generator) -> dict[str, float]:
        """Return the part of the increment outside of the span, and the gradient of the cost of weights."""
        ensemble = normal(1, self.members, self.states, generator=generator)
        seen = self._observed(ensemble, generator)
        after = ETKFSpec(members=self.members).build(Setting())(ensemble, seen, generator).ensemble
        mean, A = split(ensemble)
        increment = (after.mean(dim=1) - mean[:, 0])[0]
        w = torch.linalg.lstsq(A[0].mT, increment[:, None], driver="gelsd").solution[:, 0]
        S = split(seen.predicted)[1][0] * seen.scale[0]
        delta = (seen.value - seen.predicted.mean(dim=1))[0] * seen.scale[0]
        gradient = S @ (delta - S.mT @ w) - (self.members - 1) * w
        return {
            "span": relative(A[0].mT @ w, increment),
            "orthogonal": float(gradient.norm() / (S @ delta).norm()),
        }


def covariance(size: int, generator: torch.Generator) -> Float[Tensor, "size size"]:
    """Draw a covariance matrix of condition below 100 or so."""
    root = normal(size, size, generator=generator)
    return root @ root.mT / size + 0.1 * torch.eye(size, dtype=root.dtype)


def relative(first: Tensor, second: Tensor) -> float:
    """Return |first - second| / |second|."""
    return float((first - second).norm() / second.norm())
