"""Residual norms and the spectral refiner: exact solutions stay, errors fall without labels."""

import math
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from koopcast.dynamics import Semilinear
from koopcast.errors import InvalidInput
from koopcast.integrators.etdrk4 import ETDRK4Spec
from koopcast.refinement import Equation, Prediction, SpectralRefinerSpec
from koopcast.refinement.residual import Residual, relative_errors
from koopcast.systems import BurgersSpec, KuramotoSivashinskySpec, NavierStokesSpec
from koopcast.systems.base import EvolvingSpec

FLOWS: dict[str, tuple[EvolvingSpec, float, float]] = {
    "navier_stokes": (NavierStokesSpec(points=16), 0.1, 1.0),
    "burgers": (BurgersSpec(points=32, viscosity=0.01), 0.01, 0.1),
    "kuramoto_sivashinsky": (KuramotoSivashinskySpec(points=32), 0.1, 10.0),
}


@cache
def trajectory(name: str, frames: int = 10, cases: int = 1) -> tuple[Equation, Tensor]:
    """Return an equation and its solutions, the first frame included, to round-off in time."""
    system, dt, spin_up = FLOWS[name]
    problem = system.problem()
    assert isinstance(problem, Semilinear)
    coarse = ETDRK4Spec().build(problem, dt / 4)
    step = ETDRK4Spec().build(problem, dt / 10)
    v = problem.to_spectral(system.initial(cases, torch.Generator().manual_seed(0)))
    for _ in range(round(4 * spin_up / dt)):
        v = coarse(v)
    kept = [problem.to_physical(v)]
    for _ in range(frames):
        for _ in range(10):
            v = step(v)
        kept.append(problem.to_physical(v))
    return Equation(problem, system.describe().axes, dt), torch.stack(kept, dim=1)


def spoiled(truth: Tensor, equation: Equation, share: float = 0.02) -> Prediction:
    """Return a prediction with a smooth drift and a tenth of it of noise."""
    frames = truth[:, 1:]
    generator = torch.Generator().manual_seed(1)
    drift = frames.roll(2, -2) * torch.linspace(0.1, 1, frames.shape[1]).reshape(
        1, -1, *[1] * (frames.ndim - 2)
    )
    noise = torch.randn(frames.shape, generator=generator, dtype=torch.float64)
    noise = equation.problem.to_physical(equation.problem.to_spectral(noise))
    sizes = (frames.norm() / drift.norm(), 0.1 * frames.norm() / noise.norm())
    wrong = frames + share * (drift * sizes[0] + noise * sizes[1])
    return Prediction(truth[:, 0], wrong, truth=frames)


@pytest.mark.parametrize("name", list(FLOWS))
def test_the_residual_of_a_solution_is_far_below_that_of_frozen_frames(name: str) -> None:
    equation, truth = trajectory(name)
    residual = Residual(equation)
    exact = residual.norms(residual.coefficients(truth[:, 0], truth[:, 1:]), -1.0)
    frozen = truth[:, :1].expand(-1, 10, *truth.shape[2:])
    assert exact.item() < 1e-3 * residual.norms(residual.coefficients(truth[:, 0], frozen), -1.0).item()


def test_fields_that_solve_nothing_have_a_residual_of_the_size_of_the_right_hand_side() -> None:
    # A residual that takes w_t from a solver started at the predicted frame would be 0 here.
    equation, _ = trajectory("navier_stokes")
    residual = Residual(equation)
    random = torch.randn(1, 16, 16, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    still = random.expand(11, -1, -1, -1)[None]
    v = residual.coefficients(still[:, 0], still[:, 1:])
    F = equation.problem.linear * v + equation.problem.nonlinear(v)
    assert residual.norms(v, -1.0).item() == pytest.approx(
        residual.square_norm(F[:, 1:], -1.0).sqrt().item(), rel=1e-9
    )


def test_order_0_of_the_residual_is_the_root_mean_square_over_space_and_time() -> None:
    equation, truth = trajectory("navier_stokes")
    residual = Residual(equation)
    v = residual.coefficients(truth[:, 0], truth[:, 1:].roll(3, 2))
    r = equation.problem.to_physical(residual.of(v))
    assert residual.norms(v, 0.0).item() == pytest.approx(r.square().mean().sqrt().item())


def test_order_1_on_one_wave_is_its_mean_square_times_its_weight() -> None:
    equation, _ = trajectory("navier_stokes")
    residual = Residual(equation, alpha=0.5)
    place = torch.arange(16, dtype=torch.float64) / 16
    wave = (2 * math.pi * (2 * place[:, None] + place)).cos()[None, None, ..., None]
    r = equation.problem.to_spectral(wave)
    # mean square 1/2, |k|² = 4π² (4 + 1)
    expected = 0.5 * (0.5 + 20 * math.pi**2)
    assert residual.square_norm(r, 1.0).item() == pytest.approx(expected)
    assert residual.square_norm(r, -1.0).item() == pytest.approx(0.25 / expected)


@pytest.mark.parametrize("name", list(FLOWS))
def test_coefficients_of_real_fields_stay_and_others_become_so(name: str) -> None:
    equation, truth = trajectory(name)
    residual, problem = Residual(equation), equation.problem
    v = residual.coefficients(truth[:, 0], truth[:, 1:])
    assert torch.allclose(residual.real(v), v, atol=1e-14)
    noise = torch.randn(*v.shape, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    w = residual.real(torch.view_as_complex(noise) * residual.is_kept)
    assert torch.allclose(problem.to_spectral(problem.to_physical(w)), w, atol=1e-12)


@pytest.mark.parametrize("name", list(FLOWS))
def test_refinement_lowers_the_error_a_hundredfold_without_labels(name: str) -> None:
    equation, truth = trajectory(name)
    prediction = spoiled(truth, equation)
    refined = SpectralRefinerSpec(iterations=40).refine(prediction, equation)
    before = relative_errors(prediction.frames, truth[:, 1:])
    assert before.item() > 0.01
    assert relative_errors(refined.frames, truth[:, 1:]).item() < 0.01 * before.item()


def test_the_history_holds_norms_and_errors_that_fall() -> None:
    equation, truth = trajectory("navier_stokes")
    table = SpectralRefinerSpec(iterations=20).refine(spoiled(truth, equation), equation).history
    assert list(table.columns) == ["case", "iteration", "residual_dual", "residual_l2", "error", "seconds"]
    assert table["iteration"].tolist() == [0, 5, 10, 15, 20]
    assert (np.diff(table["residual_l2"]) < 0).all()
    assert table["error"].iloc[-1] < 0.2 * table["error"].iloc[0]


def test_an_exact_solution_is_left_alone() -> None:
    equation, truth = trajectory("navier_stokes")
    refined = SpectralRefinerSpec(iterations=20).refine(Prediction(truth[:, 0], truth[:, 1:]), equation)
    assert relative_errors(refined.frames, truth[:, 1:]).item() < 1e-6
    assert "error" not in refined.history


def test_the_preconditioner_saves_iterations() -> None:
    equation, truth = trajectory("navier_stokes")

    def left(preconditioner: str) -> float:
        spec = SpectralRefinerSpec(iterations=20, preconditioner=preconditioner)
        return float(spec.refine(spoiled(truth, equation), equation).history["residual_l2"].iloc[-1])

    assert left("diagonal") < 0.5 * left("none")


@pytest.mark.parametrize("order", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_every_order_and_optimizer_lowers_its_own_norm(order: float, optimizer: str) -> None:
    equation, truth = trajectory("navier_stokes")
    prediction = spoiled(truth, equation)
    spec = SpectralRefinerSpec(iterations=20, norm_order=order, optimizer=optimizer, stop_rel_change=0)
    residual = Residual(equation)

    def norm(frames: Tensor) -> float:
        return residual.norms(residual.coefficients(truth[:, 0], frames), order).item()

    assert norm(spec.refine(prediction, equation).frames) < 0.7 * norm(prediction.frames)


def test_refining_stops_where_it_gains_less_than_asked_for() -> None:
    equation, truth = trajectory("navier_stokes")
    patient = SpectralRefinerSpec(iterations=15, stop_rel_change=0)
    hasty = SpectralRefinerSpec(iterations=15, stop_rel_change=0.9)
    prediction = spoiled(truth, equation)
    assert hasty.refine(prediction, equation).history["iteration"].iloc[-1] < 15
    assert patient.refine(prediction, equation).history["iteration"].iloc[-1] == 15


def test_cases_are_refined_one_by_one() -> None:
    equation, truth = trajectory("navier_stokes", cases=2)
    prediction = spoiled(truth, equation)
    spec = SpectralRefinerSpec(iterations=5)
    both = spec.refine(prediction, equation)
    second = spec.refine(Prediction(prediction.start[1:], prediction.frames[1:]), equation)
    assert torch.allclose(both.frames[1:], second.frames, rtol=0, atol=1e-12)
    assert both.history["case"].tolist() == [0, 0, 1, 1]


def test_waves_that_may_not_change_do_not() -> None:
    equation, truth = trajectory("navier_stokes")
    prediction = spoiled(truth, equation)
    refined = SpectralRefinerSpec(iterations=10, modes=4).refine(prediction, equation).frames
    change = torch.fft.fft2(refined - prediction.frames, dim=(2, 3), norm="forward").abs().amax((0, 1, 4))
    waves = torch.fft.fftfreq(16, 1 / 16).abs()
    outside = (waves[:, None] > 2) | (waves > 2)
    assert change[~outside].max() > 1e-4
    assert change[outside].max() < 1e-12


def test_few_waves_in_time_make_changes_that_are_smooth_in_time() -> None:
    equation, truth = trajectory("navier_stokes")
    prediction = spoiled(truth, equation)
    refined = SpectralRefinerSpec(iterations=10, time_modes=1).refine(prediction, equation).frames
    change = refined - prediction.frames
    assert torch.allclose(change, change[:, :1].expand_as(change), atol=1e-10)


def test_weights_need_the_input_of_the_layer_and_move_the_waves_that_it_holds() -> None:
    equation, truth = trajectory("navier_stokes")
    prediction = spoiled(truth, equation)
    spec = SpectralRefinerSpec(iterations=10, parameters="all")
    with pytest.raises(InvalidInput, match="parameters: all"):
        spec.refine(prediction, equation)
    frames = torch.cat([truth[:, :1], prediction.frames], dim=1)
    window = torch.cat([torch.zeros_like(frames), frames], dim=1)
    given = Prediction(prediction.start, prediction.frames, window, prediction.truth)
    table = spec.refine(given, equation).history
    assert table["error"].iloc[-1] < 0.5 * table["error"].iloc[0]


def test_waves_that_frames_or_grid_do_not_hold_are_refused() -> None:
    equation, truth = trajectory("navier_stokes")
    prediction = spoiled(truth, equation)
    with pytest.raises(InvalidInput, match="time_modes: 13 is above 12, the waves of 10 frames"):
        SpectralRefinerSpec(time_modes=13).refine(prediction, equation)
    with pytest.raises(InvalidInput, match="above 16, the points of axis 'y'"):
        SpectralRefinerSpec(modes=17).refine(prediction, equation)
    with pytest.raises(InvalidInput, match="give one an axis"):
        SpectralRefinerSpec(modes=(4,)).refine(prediction, equation)
