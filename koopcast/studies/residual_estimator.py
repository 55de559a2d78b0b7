"""How well norms of the residual estimate the error of predicted frames, for errors of every scale."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import pandas as pd
import torch
from jaxtyping import Complex, Float
from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from koopcast.integrators.etdrk4 import ETDRK4Spec
from koopcast.progress import report
from koopcast.refinement.base import Equation
from koopcast.refinement.residual import ALPHA, Residual
from koopcast.rng import torch_generator
from koopcast.studies.base import ALL, Findings, StudySpec
from koopcast.systems.navier_stokes import NavierStokesSpec

ORDERS = {"dual": -1.0, "l2": 0.0, "h1": 1.0}
"""Subject -> order of the norm."""
INTERVAL_STEPS = 20
"""Integration steps between two frames."""
SPREAD, RATIO = "spread", "ratio"


class ResidualEstimatorSpec(StudySpec):
    """Adds errors of one band of wavenumbers after another to true frames, and compares ‖R‖_s with them.

    The ratio ‖R‖_s / ‖error‖ should not depend on the error: its spread is the largest over the smallest of
    the bands. Errors are `smooth` in time (t g + t² h with random fields g, h of the band) or `white`
    (another random field in each frame).
    """

    kind: Literal["residual_estimator"] = "residual_estimator"
    system: NavierStokesSpec = NavierStokesSpec(points=32)
    """The equation."""
    frames: int = Field(20, ge=2)
    """Frames after the first."""
    time_step: PositiveFloat = 0.1
    """Time between frames."""
    spin_up: PositiveFloat = 5.0
    """Time before the first."""
    cases: PositiveInt = 10
    """Trajectories; ratios are means over them."""
    bands: tuple[PositiveInt, ...] = Field(tuple(range(1, 11)), min_length=2)
    """Wavenumbers |k| of the errors, in units of the lowest: each within 1/2."""
    error: PositiveFloat = 0.02
    """Size of the errors, relative to the frames."""
    in_time: Literal["smooth", "white"] = "smooth"
    """How errors change from frame to frame."""
    alpha: PositiveFloat = ALPHA
    """Weight of the mean in the norms, beside 4π²|k|²/D²."""

    reference = "Cao et al. 2025 (Spectral-Refiner): the dual norm of the residual as estimator of the error"

    @model_validator(mode="after")
    def _bands_are_resolved(self) -> "ResidualEstimatorSpec":
        if max(self.bands) > (limit := (self.system.points - 1) // 3) and self.system.dealias == "2/3":
            raise ValueError(
                f"bands: {max(self.bands)} is above {limit}, what {self.system.points} points keep; lower it"
            )
        return self

    def metrics(self) -> Mapping[str, str]:
        """Return ‖R‖_s / ‖error‖ band by band, its spread, and ‖R‖_s of the true frames."""
        return {RATIO: "1", SPREAD: "1"}

    def subjects(self) -> Mapping[str, Sequence[int]]:
        """Return the norms, whose spread is one number each."""
        return dict.fromkeys(ORDERS, ())

    def run(self, seed: int) -> Findings:
        """Integrate, spoil, and compare."""
        problem = self.system.problem()
        equation = Equation(problem, self.system.describe().axes, self.time_step)
        residual = Residual(equation, self.alpha)
        truth = self._truth(seed)
        rows: list[dict[str, float | str]] = []
        for number, band in enumerate(self.bands):
            generator = torch_generator(seed, self.kind, "errors", band)
            error = self._error(band, truth, residual, generator)
            size = residual.square_norm(error, 0.0).sqrt()
            for name, order in ORDERS.items():
                wrong = torch.cat([truth[:, :1], truth[:, 1:] + error], dim=1)
                ratio = float((residual.norms(wrong, order) / size).mean())
                rows.append({"norm": name, "band": band, RATIO: ratio})
            report("band", number + 1, len(self.bands))
        table = pd.DataFrame(rows)
        largest, smallest = (table.groupby("norm", sort=False)[RATIO].agg(how) for how in ("max", "min"))
        means = table.groupby("norm", sort=False)[RATIO].mean()
        scores = {
            RATIO: {name: {ALL: float(means[name])} for name in ORDERS},
            SPREAD: {name: {ALL: float(largest[name] / smallest[name])} for name in ORDERS},
        }
        return Findings(scores, {"ratios": table})

    def _truth(self, seed: int) -> Complex[Tensor, "case all y kept"]:
        problem, dt = self.system.problem(), self.time_step / INTERVAL_STEPS
        step = ETDRK4Spec().build(problem, dt)
        v = problem.to_spectral(self.system.initial(self.cases, torch_generator(seed, self.kind, "initial")))
        for _ in range(round(self.spin_up / dt)):
            v = step(v)
        frames = [v]
        for _ in range(self.frames):
            for _ in range(INTERVAL_STEPS):
                v = step(v)
            frames.append(v)
        return torch.stack(frames, dim=1)

    def _error(
        self,
        band: int,
        truth: Complex[Tensor, "case all y kept"],
        residual: Residual,
        generator: torch.Generator,
    ) -> Complex[Tensor, "case frame y kept"]:
        wave = residual.square_waves.sqrt() * (self.system.length / (2 * math.pi))
        inside = ((wave - band).abs() <= 0.5) & residual.is_kept
        count = 2 if self.in_time == "smooth" else self.frames
        fields = self._fields(count, generator) * inside
        if self.in_time == "smooth":
            t = torch.linspace(0, 1, self.frames + 1, dtype=torch.float64)[1:, None, None]
            fields = t * fields[:, :1] + t.square() * fields[:, 1:]
        shares = residual.square_norm(truth[:, 1:], 0.0) / residual.square_norm(fields, 0.0)
        return fields * (self.error * shares.sqrt())[:, None, None, None]

    def _fields(self, count: int, generator: torch.Generator) -> Complex[Tensor, "case count y kept"]:
        """Return white noise."""
        shape = (self.cases, count, self.system.points, self.system.points, 1)
        noise: Float[Tensor, "case count y x 1"] = torch.randn(
            shape, generator=generator, dtype=torch.float64
        )
        result: Tensor = self.system.problem().to_spectral(noise)
        return result
