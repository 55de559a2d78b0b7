"""Weighted least squares from few points: which sampler comes close to the best approximation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np
import pandas as pd
from jaxtyping import Float
from pydantic import Field, PositiveInt, model_validator

from koopcast.numerics import bases
from koopcast.progress import report
from koopcast.rng import numpy_generator
from koopcast.samplers import AnySampler, SamplerSpec
from koopcast.samplers.christoffel import ChristoffelSpec
from koopcast.samplers.repeated_dpp import RepeatedDPPSpec
from koopcast.samplers.volume import VolumeSpec
from koopcast.samplers.weighted import gram_min_eig
from koopcast.studies.base import Findings, StudySpec
from koopcast.studies.sequences import Name

Function: TypeAlias = Literal["abs", "exp", "runge"]
STABLE = 0.5
"""Least eigenvalue of the Gram matrix from which a fit counts as stable."""
METRICS = ("error_ratio", "error_ratio_median", "error_ratio_q90", "stability", "bias")


class LeastSquaresSpec(StudySpec):
    """Fits a function in a few basis functions from sampled points; errors in units of the best possible."""

    kind: Literal["least_squares"] = "least_squares"
    function: Function = "abs"
    """What is approximated on the cube [-1, 1]ᵈ: ‖x‖, exp(Σ x) or 1 / (1 + 25 ‖x‖²)."""
    dimension: Literal[1, 2] = 1
    """Dimension d of the cube."""
    basis: Literal["fourier", "legendre"] = "legendre"
    """Orthonormal functions of the cube: waves or polynomials."""
    num_features: PositiveInt = 20
    """Functions in use, m, low degrees first."""
    candidates: PositiveInt = 20_000
    """Points, spread evenly, that stand for the cube; on a line many more than m², so that they resolve
    polynomials at its ends."""
    sizes: tuple[PositiveInt, ...] = Field((20, 40, 80, 120, 200), min_length=1)
    """Numbers of points; a sampler is left out at those that it cannot meet."""
    repetitions: int = Field(200, ge=2)
    """Draws per sampler and size."""
    samplers: dict[Name, AnySampler] = Field(
        {"christoffel": ChristoffelSpec(), "repeated_dpp": RepeatedDPPSpec(), "volume": VolumeSpec()},
        min_length=1,
    )
    """Names -> samplers. Those that choose rows do so among the candidates."""

    reference = (
        "Nouy and Michel 2023, Weighted least-squares approximation with determinantal point processes"
    )

    @model_validator(mode="after")
    def _every_sampler_meets_a_size(self) -> "LeastSquaresSpec":
        if self.num_features > self.candidates:
            raise ValueError(
                f"num_features: {self.num_features} are more than {self.candidates} candidates; lower it"
            )
        for name, sizes in self.subjects().items():
            if not sizes:
                fault = self.samplers[name].faulty_count(self.sizes[0], self.num_features)
                raise ValueError(f"sizes: '{name}' meets none of them: {fault}")
        return self

    def metrics(self) -> Mapping[str, str]:
        """Return mean, median and upper decile of ‖u - û‖ / min ‖u - v‖; the share of draws whose least
        eigenvalue is 0.5 or more; the mean error of the coefficients in standard errors.
        """
        return dict.fromkeys(METRICS, "1")

    def subjects(self) -> Mapping[str, Sequence[int]]:
        """Return the samplers, each with the sizes that it can meet."""
        return {
            name: [
                n
                for n in sorted(set(self.sizes))
                if n >= self.num_features and sampler.faulty_count(n, self.num_features) is None
            ]
            for name, sampler in self.samplers.items()
        }

    def run(self, seed: int) -> Findings:
        """Fit again and again, sampler by sampler and size by size."""
        target = Target.of(self)
        scores: dict[str, dict[str, dict[str, float]]] = {metric: {} for metric in METRICS}
        tables: list[pd.DataFrame] = []
        cells = [(name, n) for name, sizes in self.subjects().items() for n in sizes]
        for done, (name, n) in enumerate(cells):
            draw = _drawing(self, self.samplers[name], target)
            generator = numpy_generator(seed, self.kind, name, n)
            fits = [target.fit(draw(n, generator)) for _ in range(self.repetitions)]
            table = _table(fits, target.best)
            for metric, value in _summary(fits, table).items():
                scores[metric].setdefault(name, {})[str(n)] = value
            tables.append(table.assign(sampler=name, n=n, repetition=range(self.repetitions)))
            report("cell", done + 1, len(cells))
        return Findings(scores, {"fits": pd.concat(tables, ignore_index=True)})


@dataclass(frozen=True)
class Sample:
    """Features and values at sampled points."""

    phi: Float[np.ndarray, "count feature"]
    u: Float[np.ndarray, " count"]
    weight: Float[np.ndarray, " count"]


@dataclass(frozen=True)
class Fit:
    """How far the coefficients are from those of the projection, and how stable they are."""

    error: Float[np.ndarray, " feature"]
    gram_min_eig: float


@dataclass(frozen=True)
class Target:
    """A function on the candidates, and its best approximation there."""

    phi: Float[np.ndarray, "candidate feature"]
    """Features with mean(φ φᵀ) = I."""
    u: Float[np.ndarray, " candidate"]
    to_orthonormal: Float[np.ndarray, "feature feature"]
    """What turns functions of the basis into these features."""

    @classmethod
    def of(cls, study: LeastSquaresSpec) -> "Target":
        """Return the target of a study."""
        places = bases.even_net(study.candidates, study.dimension)
        raw = bases.evaluate(study.basis, places, study.num_features)
        # mean(φ φᵀ) = I on the candidates: with raw = Q R, φ = √N Q = raw √N R⁻¹.
        transform = np.sqrt(len(raw)) * np.linalg.inv(np.linalg.qr(raw).R)
        return cls(raw @ transform, value_at(study.function, places), transform)

    @cached_property
    def coefficients(self) -> Float[np.ndarray, " feature"]:
        """Return those of the projection, mean(φ u)."""
        return np.asarray(self.phi.T @ self.u / len(self.u))

    @cached_property
    def best(self) -> float:
        """Return the root mean square of what the projection leaves."""
        return float(np.sqrt(np.mean((self.u - self.phi @ self.coefficients) ** 2)))

    def fit(self, sample: Sample) -> Fit:
        """Return the error of argmin Σ w (u - φ · c)²."""
        root = np.sqrt(sample.weight)
        c = np.linalg.lstsq(sample.phi * root[:, None], sample.u * root, rcond=None)[0]
        return Fit(c - self.coefficients, gram_min_eig(sample.phi, sample.weight))


SampleDraw: TypeAlias = Callable[[int, np.random.Generator], Sample]


def _drawing(study: LeastSquaresSpec, sampler: SamplerSpec, target: Target) -> SampleDraw:
    """Return what draws rows of the candidates, or points where the sampler cannot choose rows."""
    if sampler.chooses_rows:
        rows = sampler.drawing(target.phi)

        def from_rows(count: int, generator: np.random.Generator) -> Sample:
            chosen = rows(count, generator)
            return Sample(target.phi[chosen.index], target.u[chosen.index], chosen.weight)

        return from_rows

    def from_points(count: int, generator: np.random.Generator) -> Sample:
        laid = sampler.points(count, study.dimension, generator)
        phi = bases.evaluate(study.basis, laid.points, study.num_features) @ target.to_orthonormal
        return Sample(phi, value_at(study.function, laid.points), laid.weight)

    return from_points


def value_at(function: Function, points: Float[np.ndarray, "point dimension"]) -> Float[np.ndarray, " point"]:
    """Return the function at points of the unit cube, which stands for [-1, 1]ᵈ."""
    x = 2 * points - 1
    if function == "exp":
        return np.asarray(np.exp(x.sum(axis=1)))
    squared = (x**2).sum(axis=1)
    return np.asarray(np.sqrt(squared) if function == "abs" else 1 / (1 + 25 * squared))


def _table(fits: Sequence[Fit], best: float) -> pd.DataFrame:
    # What the projection leaves is orthogonal to the features: ‖u - û‖² = best² + ‖error‖².
    squared = np.array([np.sum(fit.error**2) for fit in fits])
    ratio = np.sqrt(1 + squared / best**2)
    return pd.DataFrame({"error_ratio": ratio, "gram_min_eig": [fit.gram_min_eig for fit in fits]})


def _summary(fits: Sequence[Fit], table: pd.DataFrame) -> dict[str, float]:
    errors = np.stack([fit.error for fit in fits])
    standard_error = np.linalg.norm(errors.std(axis=0, ddof=1)) / np.sqrt(len(errors))
    ratio = table["error_ratio"]
    return {
        "error_ratio": float(ratio.mean()),
        "error_ratio_median": float(ratio.median()),
        "error_ratio_q90": float(ratio.quantile(0.9)),
        "stability": float((table["gram_min_eig"] >= STABLE).mean()),
        "bias": float(np.linalg.norm(errors.mean(axis=0)) / standard_error),
    }
