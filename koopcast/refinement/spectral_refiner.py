"""Fine-tuning of the last spectral layer on the residual of the equation."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd
import torch
from jaxtyping import Bool, Complex, Float
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from koopcast import progress
from koopcast.errors import Diverged, InvalidInput
from koopcast.grids import Axis
from koopcast.refinement.base import Equation, Prediction, Refined, RefinementSpec
from koopcast.refinement.residual import ALPHA, DUAL, Residual, relative_errors
from koopcast.spec import Problem

MEMORY = 20
"""Pairs that L-BFGS keeps."""
EXTRA_WAVES = 2
"""A window twice as long as the frames and one more holds so many waves more than frames."""


class SpectralRefinerSpec(RefinementSpec):
    """Moves the output operator's bias field, and its weights, so that ‖R‖_s of the prediction falls.

    The frames become w(t_n) = prediction + δ Re Σ_m Σ_k (b(m, k) + c(m, k) ẑ(m, k)) e^{2πi (m n/2(T + 1) +
    k·x)}, m and k over the kept waves of a window twice as long as the T frames and of space; b and c are
    0 at first, ẑ are the waves of what the layer is given. Each case is refined by itself, in float64. The
    unknowns are (b, c) times √(ω² + |L|² + 1/T²), what the linear part of the equation makes of a wave,
    unless `preconditioner` is `none`.
    """

    kind: Literal["spectral_refiner"] = "spectral_refiner"
    modes: PositiveInt | tuple[PositiveInt, ...] | None = None
    """Waves of each space axis that may change, both signs counted: one number, or one an axis. Default: all
    that the equation keeps."""
    time_modes: PositiveInt | None = None
    """Waves in time that may change, the mean included: at most the frames and two. Default: all."""
    iterations: PositiveInt = 100
    """Iterations at most."""
    optimizer: Literal["lbfgs", "adam"] = "lbfgs"
    """L-BFGS with a strong Wolfe line search, or Adam."""
    lr_bias: PositiveFloat = 3e-4
    """Rate of Adam for the bias field, in units of the root mean square of the frames."""
    lr_weight: PositiveFloat = 1e-4
    """Rate of Adam for the weights."""
    norm_order: float = Field(0.0, ge=-2, le=2)
    """Order s of the norm that is made small."""
    alpha: PositiveFloat = ALPHA
    """Weight α of the mean in the norms, beside 4π²|k|²/D²."""
    delta: PositiveFloat = 1.0
    """Factor δ of what is added."""
    parameters: Literal["bias", "all"] = "bias"
    """What moves: the bias field, or the layer's weights too."""
    preconditioner: Literal["diagonal", "none"] = "diagonal"
    """Units of the unknowns."""
    stop_rel_change: NonNegativeFloat = 1e-3
    """Stop when the norm changes by a smaller share over `report_every` iterations."""
    report_every: PositiveInt = 5
    """Iterations between two rows of the history."""

    reference = (
        "Cao et al. 2025; their exponent s/4 is s/2 here, and their w_t, one solver step from the prediction "
        "itself, is that of the Hermite-Simpson rule between predicted frames; L-BFGS, order 0 by default"
    )

    def faults(self, axes: tuple[Axis, ...], frames: int) -> Iterator[Problem]:
        """Refuse waves that frames or grid do not hold."""
        if (self.time_modes or 1) > (most := frames + EXTRA_WAVES):
            yield Problem(
                ("time_modes",), f"{self.time_modes} is above {most}, the waves of {frames} frames; lower it"
            )
        counts = self.mode_counts(axes)
        if len(counts) != len(axes):
            yield Problem(("modes",), f"{len(counts)} numbers for {len(axes)} axes; give one an axis")
            return
        for axis, count in zip(axes, counts, strict=True):
            if count > axis.size:
                yield Problem(
                    ("modes",), f"{count} is above {axis.size}, the points of axis '{axis.name}'; lower it"
                )

    def mode_counts(self, axes: tuple[Axis, ...]) -> tuple[int, ...]:
        """Return the waves of each axis that may change, as far as the equation keeps them."""
        if self.modes is None:
            return tuple(axis.size for axis in axes)
        return self.modes if isinstance(self.modes, tuple) else (self.modes,) * len(axes)

    def refine(self, prediction: Prediction, equation: Equation) -> Refined:
        """Refine the cases one after the other."""
        for fault in self.faults(equation.axes, prediction.frames.shape[1]):
            raise InvalidInput(f"{fault.path[0]}: {fault.message}")
        if self.parameters == "all" and prediction.latent is None:
            raise InvalidInput(
                "parameters: all moves the weights of a model's last spectral layer, and this one shows none",
                "use parameters: bias, or the model sfno",
            )
        residual = Residual(equation, self.alpha)
        layer = _Layer.of(self, residual, prediction.frames.shape[1])
        frames, tables = [], []
        for case in range(len(prediction.frames)):
            one = _Case.of(prediction, case, residual, layer)
            refined, table = self._refine_one(one, residual, layer)
            frames.append(refined)
            tables.append(table.assign(case=case))
            progress.report("case", case + 1, len(prediction.frames))
        history = pd.concat(tables, ignore_index=True)
        return Refined(torch.cat(frames), history[["case", *history.columns.drop("case")]])

    def _refine_one(
        self, case: "_Case", residual: Residual, layer: "_Layer"
    ) -> tuple[Float[Tensor, "1 frame *space channel"], pd.DataFrame]:
        started = time.perf_counter()
        shape = (*layer.factor.shape, 2)
        count = 1 if self.parameters == "bias" else 2
        unknowns = [torch.zeros(shape, dtype=torch.float64, requires_grad=True) for _ in range(count)]
        first = float(residual.norms(case.v, self.norm_order))

        def frames() -> Complex[Tensor, "1 all *wave"]:
            added = self.delta * layer.frames(unknowns, case.latent)
            return torch.cat([case.v[:, :1], case.v[:, 1:] + residual.real(added)[None]], dim=1)

        def objective() -> Float[Tensor, ""]:
            square = residual.square_norm(residual.of(frames()), self.norm_order)
            return (square / max(first, 1e-300) ** 2).sum()

        step = self._stepper(unknowns, objective, case.rms)
        rows: list[dict[str, float]] = []
        norm, done = first, 0
        while True:
            with torch.no_grad():
                now = frames()
                rows.append({"iteration": done, **case.judged(now, residual)})
                rows[-1]["seconds"] = time.perf_counter() - started
                before, norm = norm, float(residual.norms(now, self.norm_order))
            if not math.isfinite(norm):
                raise Diverged(f"the residual became {norm} after {done} iterations", "lower lr_bias")
            has_stalled = done > 0 and abs(before - norm) < self.stop_rel_change * before
            if norm == 0 or has_stalled or done >= self.iterations:
                return residual.equation.problem.to_physical(now[:, 1:]), pd.DataFrame(rows)
            many = min(self.report_every, self.iterations - done)
            step(many)
            done += many

    def _stepper(
        self, unknowns: Sequence[Tensor], objective: Callable[[], Tensor], rms: float
    ) -> Callable[[int], None]:
        """Return what makes a number of iterations."""
        optimizer = self._optimizer(unknowns, rms)

        def closure() -> float:
            optimizer.zero_grad()
            value = objective()
            value.backward()
            return float(value.detach())

        def step(many: int) -> None:
            if self.optimizer == "adam":
                for _ in range(many):
                    optimizer.step(closure)
                return
            group = optimizer.param_groups[0]
            group["max_iter"], group["max_eval"] = many, 10 * many
            optimizer.step(closure)

        return step

    def _optimizer(self, unknowns: Sequence[Tensor], rms: float) -> torch.optim.Optimizer:
        if self.optimizer == "lbfgs":
            return torch.optim.LBFGS(
                unknowns,
                history_size=MEMORY,
                line_search_fn="strong_wolfe",
                tolerance_grad=0,
                tolerance_change=0,
            )
        rates = (self.lr_bias * rms, self.lr_weight)
        groups = [{"params": [x], "lr": rate} for x, rate in zip(unknowns, rates, strict=False)]
        return torch.optim.Adam(groups)


@dataclass(frozen=True)
class _Layer:
    """The waves of the window that may change, and their units."""

    waves: Complex[Tensor, "frame mode"]
    """e^{2πi m n / 2(T + 1)}."""
    numbers: Tensor
    """m."""
    factor: Float[Tensor, "mode *wave"]
    """What an unknown is worth: 1 at most, 0 for waves that do not change."""

    @classmethod
    def of(cls, spec: SpectralRefinerSpec, residual: Residual, frames: int) -> "_Layer":
        """Return the layer for a number of frames."""
        most, equation = frames + EXTRA_WAVES, residual.equation
        highest = (spec.time_modes or most) - 1
        m = torch.arange(-highest, min(highest, frames) + 1, dtype=torch.float64)
        window = 2 * (frames + 1)
        n = torch.arange(1, frames + 1, dtype=torch.float64)
        may_change = residual.is_kept & _within(spec.mode_counts(equation.axes), residual)
        factor = may_change.double().expand(len(m), *may_change.shape)
        if spec.preconditioner == "diagonal":
            duration = frames * equation.time_step
            omega = 2 * math.pi * m / (window * equation.time_step)
            linear = equation.problem.linear.abs()
            rates = omega.square().reshape(-1, *[1] * linear.ndim) + linear.square() + duration**-2
            factor = factor * (rates.min() / rates).sqrt()
        return cls(torch.exp(2j * math.pi / window * torch.outer(n, m)), m.long(), factor)

    def frames(
        self, unknowns: Sequence[Float[Tensor, "mode *wave 2"]], latent: Complex[Tensor, "mode *wave"] | None
    ) -> Complex[Tensor, "frame *wave"]:
        """Return what the unknowns add to the frames."""
        values = torch.view_as_complex(unknowns[0])
        if len(unknowns) > 1 and latent is not None:
            values = values + torch.view_as_complex(unknowns[1]) * latent
        values = values * self.factor
        result: Tensor = torch.tensordot(self.waves, values, dims=1)
        return result

    def of_window(self, window: Complex[Tensor, "window *wave"]) -> Complex[Tensor, "mode *wave"]:
        """Return the waves in time of frames on a window; those that it does not hold are 0."""
        size = len(window)
        spectrum = torch.fft.fft(window, dim=0, norm="forward")
        # The middle of the window is time 0 of the waves here.
        turn = torch.where(self.numbers % 2 == 0, 1.0, -1.0).reshape(-1, *[1] * (window.ndim - 1))
        held = (self.numbers.abs() < size / 2).reshape(turn.shape)
        return torch.where(held, spectrum[self.numbers % size] * turn, 0.0)


def _within(counts: tuple[int, ...], residual: Residual) -> Bool[Tensor, "*wave"]:
    """Return which waves are among so many of each axis."""
    result, axes = torch.ones_like(residual.is_kept), residual.equation.axes
    for dim, (axis, count) in enumerate(zip(axes, counts, strict=True)):
        waves = torch.fft.fftfreq(axis.size, 1 / axis.size)[: result.shape[dim]]
        inside = (waves < count - count // 2) & (waves >= -(count // 2))
        if dim == len(axes) - 1:
            inside = waves.abs() <= count // 2
        result &= inside.reshape([-1 if other == dim else 1 for other in range(result.ndim)])
    return result


@dataclass(frozen=True)
class _Case:
    """One trajectory as coefficients."""

    v: Complex[Tensor, "1 all *wave"]
    latent: Complex[Tensor, "mode *wave"] | None
    truth: Float[Tensor, "1 frame *space channel"] | None
    rms: float

    @classmethod
    def of(cls, prediction: Prediction, case: int, residual: Residual, layer: _Layer) -> "_Case":
        """Return one of the cases of a prediction."""
        start, frames = prediction.start[case : case + 1], prediction.frames[case : case + 1]
        latent = None
        if prediction.latent is not None:
            latent = layer.of_window(residual.equation.problem.to_spectral(prediction.latent[case].double()))
        truth = None if prediction.truth is None else prediction.truth[case : case + 1]
        rms = float(frames.double().square().mean().sqrt())
        return cls(residual.coefficients(start, frames), latent, truth, rms)

    def judged(self, v: Complex[Tensor, "1 all *wave"], residual: Residual) -> dict[str, float]:
        """Return the norms of orders -1 and 0, and the error where it is known."""
        result = {
            "residual_dual": float(residual.norms(v, DUAL)),
            "residual_l2": float(residual.norms(v, 0.0)),
        }
        if self.truth is not None:
            frames = residual.equation.problem.to_physical(v[:, 1:])
            result["error"] = float(relative_errors(frames, self.truth))
        return result
