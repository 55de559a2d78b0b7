"""Shallow networks whose random hidden parameters are bandlimited: how near they come to a function."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd
import torch
from jaxtyping import Float
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from koopcast.numerics.random_features import (
    BANDWIDTHS,
    Activation,
    Candidates,
    Distribution,
    HiddenLayer,
    Split,
    draw_hidden,
    folds,
    held_out,
)
from koopcast.numerics.ridge_path import ridge_path
from koopcast.progress import report
from koopcast.rng import torch_generator
from koopcast.studies.base import Findings, StudySpec

BEST, AUTO, BUMPS = "best", "auto", "bumps"
DOUBLING = 0.05
"""Relative change of the error, as neurons double, below which more of them do not help."""
ROUNDING = 1e-8
"""An error below it may be rounding."""
MEDIANS = ("bandwidth", "rank")
"""What is known of a fit beside its error."""
FINER = 2
"""Points on which errors are measured, for each point of the fit."""


class BandlimitedFeaturesSpec(StudySpec):
    """Fits functions on [-1, 1] by f(x) = Σ β σ(λ (a x - b)) with random a and b: only β is solved for.

    Subjects are `<target>.<bandwidth>`, like `sine_5.b50` for sin(2π 5 x) and λ = 50, or `bumps.b0_5`;
    `<target>.best`, the bandwidth of the smallest error in hindsight; and `<target>.auto`, the one that
    validation chooses from 2⁻², 2⁻¹, ..., 2¹⁰.
    """

    kind: Literal["bandlimited_features"] = "bandlimited_features"
    frequencies: tuple[PositiveInt, ...] = Field((1, 5, 15), min_length=1)
    """Targets sin(2π m x), one for each m."""
    bumps: bool = True
    """Approximate two narrow bumps e^{-(50 x)²} + e^{-(80 (x - 0.3))²}/2 too."""
    bandwidths: tuple[PositiveFloat, ...] = Field((0.5, 1.0, 5.0, 10.0, 50.0, 100.0, 500.0), min_length=1)
    """Values of λ."""
    activation: Activation = "sigmoid"
    """σ."""
    distribution: Distribution = "uniform"
    """Law of a and b at λ = 1."""
    sizes: tuple[PositiveInt, ...] = Field((400,), min_length=1)
    """Numbers of neurons L; a smaller network holds the first neurons of a larger one."""
    points: int = Field(1000, ge=10)
    """Points of the fit, evenly spread; errors are measured on twice as many."""
    ridge: NonNegativeFloat = 0.0
    """Penalty in units of the mean square of a feature."""
    auto: bool = True
    """Let validation choose a bandwidth too."""
    folds: PositiveInt = 1
    """Parts that validation leaves out in turn; 1: a fifth of the points, once."""
    repetitions: PositiveInt = 3
    """Draws of the hidden parameters, over which errors have their median."""

    reference = (
        "Li, Sonoda, Cao, Wang and Liang 2023, How powerful are shallow neural networks with bandlimited "
        "random weights?, ICML; the floor is what least squares finds, not the bound of the theorem"
    )

    @model_validator(mode="after")
    def _bandwidths_have_names_of_their_own(self) -> "BandlimitedFeaturesSpec":
        named: dict[str, float] = {}
        for bandwidth in self.bandwidths:
            if (name := name_of(bandwidth)) in named:
                raise ValueError(f"bandwidths: {named[name]:g} and {bandwidth:g} are both '{name}'; drop one")
            named[name] = bandwidth
        if len(set(self.frequencies)) < len(self.frequencies):
            raise ValueError("frequencies: each one once")
        if self.folds > self.points:
            raise ValueError(f"folds: {self.folds} of {self.points} points; lower it")
        return self

    def metrics(self) -> Mapping[str, str]:
        """Return the median of ‖f - f̂‖/‖f‖; the floor, that error where twice the neurons of another size
        change it by less than 5 % and it is no rounding, else 0; the bandwidth; the numerical rank of the
        features.
        """
        return dict.fromkeys(("error", "floor", *MEDIANS), "1")

    def subjects(self) -> Mapping[str, Sequence[int]]:
        """Return targets and bandwidths, each with all sizes."""
        places = [*map(name_of, self.bandwidths), BEST, *([AUTO] if self.auto else [])]
        sizes = sorted(set(self.sizes))
        return {f"{target}.{place}": sizes for target in self.targets() for place in places}

    def targets(self) -> list[str]:
        """Return the names of the functions."""
        return [*(f"sine_{m}" for m in self.frequencies), *([BUMPS] if self.bumps else [])]

    def values(self, x: Float[Tensor, " point"]) -> Float[Tensor, "point target"]:
        """Return the functions at points."""
        columns = [torch.sin(2 * math.pi * m * x) for m in self.frequencies]
        if self.bumps:
            columns.append(torch.exp(-((50 * x) ** 2)) + 0.5 * torch.exp(-((80 * (x - 0.3)) ** 2)))
        return torch.stack(columns, dim=1)

    def run(self, seed: int) -> Findings:
        """Draw, fit and validate, size by size and draw by draw."""
        trials = []
        for repetition in range(self.repetitions):
            trials.append(self._trial(seed, repetition))
            report("draw", repetition + 1, self.repetitions)
        fits = pd.concat(trials, ignore_index=True)
        return Findings(_scores(fits, self), {"fits": fits})

    def _trial(self, seed: int, repetition: int) -> pd.DataFrame:
        x = torch.linspace(-1, 1, self.points, dtype=torch.float64)
        generator = torch_generator(seed, self.kind, repetition)
        order = torch.randperm(self.points, generator=generator)
        layer = draw_hidden(self.distribution, self.activation, max(self.sizes), x[:, None], generator)
        finer = (torch.arange(FINER * self.points, dtype=torch.float64) + 0.5) * (
            2 / (FINER * self.points)
        ) - 1
        problem = Problem(
            self,
            x[:, None],
            self.values(x),
            finer[:, None],
            self.values(finer),
            folds(self.points, self.folds, order),
        )
        return pd.DataFrame(
            [
                {"repetition": repetition, "n": size, **row}
                for size in sorted(set(self.sizes))
                for row in problem.rows(layer.narrowed(size))
            ]
        )


@dataclass(frozen=True)
class Problem:
    """Points and values to fit, and points and values to judge by."""

    study: BandlimitedFeaturesSpec
    x: Float[Tensor, "point 1"]
    y: Float[Tensor, "point target"]
    finer: Float[Tensor, "fine 1"]
    truth: Float[Tensor, "fine target"]
    splits: Sequence[Split]

    def rows(self, layer: HiddenLayer) -> list[dict[str, float | str]]:
        """Return what each bandwidth of the study does for each target, and what the chosen one does."""
        rows = []
        for bandwidth in self.study.bandwidths:
            errors, rank = self.fitted(layer, bandwidth)
            rows += [
                _row(target, name_of(bandwidth), bandwidth, error, rank)
                for target, error in zip(self.study.targets(), errors, strict=True)
            ]
        return rows + self.validated(layer) if self.study.auto else rows

    def validated(self, layer: HiddenLayer) -> list[dict[str, float | str]]:
        """Return what the bandwidth that validation chooses for each target does."""
        candidates, rows = Candidates(BANDWIDTHS, (self.study.ridge,)), []
        chosen = held_out(layer, self.x, self.y, self.splits, candidates)[:, 0].argmin(dim=0)
        for index, target in enumerate(self.study.targets()):
            bandwidth = BANDWIDTHS[int(chosen[index])]
            errors, rank = self.fitted(layer, bandwidth)
            rows.append(_row(target, AUTO, bandwidth, errors[index], rank))
        return rows

    def fitted(self, layer: HiddenLayer, bandwidth: float) -> tuple[list[float], int]:
        """Return the relative error of each target, and the numerical rank of the features."""
        H = layer.features(layer.projected(self.x), bandwidth)
        path = ridge_path(H, self.y, (self.study.ridge,))
        found = layer.features(layer.projected(self.finer), bandwidth) @ path.coefficients[0]
        errors = (found - self.truth).norm(dim=0) / self.truth.norm(dim=0)
        rank = int(torch.linalg.matrix_rank(H)) if path.rank is None else path.rank
        return errors.tolist(), rank


def name_of(bandwidth: float) -> str:
    """Return how subjects write a bandwidth: `b0_5` for 0.5."""
    return "b" + f"{bandwidth:.6f}".rstrip("0").rstrip(".").replace(".", "_")


def _row(target: str, place: str, bandwidth: float, error: float, rank: int) -> dict[str, float | str]:
    return {"target": target, "place": place, "bandwidth": bandwidth, "error": error, "rank": rank}


def _scores(fits: pd.DataFrame, study: BandlimitedFeaturesSpec) -> dict[str, dict[str, dict[str, float]]]:
    """Return medians over draws, `best` the bandwidth whose median error is smallest."""
    scores: dict[str, dict[str, dict[str, float]]] = {metric: {} for metric in study.metrics()}
    for (target, n), cell in fits.groupby(["target", "n"], sort=False):
        medians = cell.groupby("place")[["error", *MEDIANS]].median()
        places = {str(place): row for place, row in medians.iterrows()}
        best = medians.drop(index=AUTO, errors="ignore")["error"].idxmin()
        for place, row in {**places, BEST: places[str(best)]}.items():
            for metric in ("error", *MEDIANS):
                scores[metric].setdefault(f"{target}.{place}", {})[str(n)] = float(row[metric])
    for subject, errors in scores["error"].items():
        found = {
            n: floor(errors.get(str(n // 2)), errors[str(n)]) for n in sorted(set(study.sizes)) if n % 2 == 0
        }
        scores["floor"][subject] = {str(n): value for n, value in found.items() if value is not None}
    return scores


def floor(half: float | None, error: float) -> float | None:
    """Return the error that twice the neurons left as it was, 0 where there is none; None: `half` unknown."""
    if half is None:
        return None
    return error if error > ROUNDING and abs(error / half - 1) < DOUBLING else 0.0
