import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from koopcast.errors import Underresolved
from koopcast.random_fields.constant import ConstantSpec
from koopcast.random_fields.matern import MaternFieldSpec
from koopcast.random_fields.periodic import PeriodicGaussianSpec
from koopcast.random_fields.power_series import PowerSeriesSpec
from koopcast.systems.driven_advection import DrivenAdvectionSpec


def drawn(system, seed=0):
    fields = system.draw(torch.Generator().manual_seed(seed), {})
    assert all(field.shape == (system.times, system.points) for field in fields.values())
    assert np.ptp(fields["u"], axis=0).max() == 0
    return fields["u"][0], fields["s"]


def plane(system):
    axes = system.describe().axes
    t, x = (np.linspace(0, axis.length, axis.size) for axis in axes)
    return t[:, None], x


LINE = PowerSeriesSpec(degree=1)
"""V(y) = a + b y."""


def test_a_periodic_start_goes_round_the_circle():
    system = DrivenAdvectionSpec(input=LINE, end=1.5)
    (t, x), (u, s) = plane(system), drawn(system)
    a, b = u[0], u[50] - u[0]
    assert np.allclose(u, a + b * np.sin(np.pi * x) ** 2, atol=1e-12)
    assert np.allclose(s, a + b * np.sin(np.pi * (x - t)) ** 2, atol=1e-12)


def test_diffusion_wears_the_wave_down_by_its_rate():
    # a + b sin² πx = a + b/2 - b/2 cos 2πx, whose wave decays as e^{-4π²Dt}.
    system = DrivenAdvectionSpec(input=LINE, diffusion=0.1, points=41, times=21)
    (t, x), (u, s) = plane(system), drawn(system)
    a, b = u[0], u[20] - u[0]
    wave = np.exp(-4 * np.pi**2 * 0.1 * t) * np.cos(2 * np.pi * (x - t))
    assert np.allclose(s, a + b / 2 - b / 2 * wave, atol=1e-12)


def test_without_diffusion_the_smoothed_solution_is_the_shifted_one():
    sharp, smoothed = (drawn(DrivenAdvectionSpec(diffusion=D))[1] for D in (0.0, 1e-9))
    assert np.allclose(sharp, smoothed, rtol=0, atol=1e-5)
    assert not np.allclose(sharp, smoothed, rtol=0, atol=1e-9)


def test_a_start_with_inflow_of_nothing_leaves_zeros_behind():
    system = DrivenAdvectionSpec(case="inflow_start", input=LINE)
    (t, x), (u, s) = plane(system), drawn(system)
    slope = np.polyfit(x, u, 2)
    assert abs(slope[2]) < 1e-12
    assert np.allclose(s, np.where(x > t, np.polyval(slope, x - t), 0), atol=1e-12)
    assert np.allclose(s[-1], 0)


@pytest.mark.parametrize("value", [0.0, 2.0, -3.0])
def test_at_a_constant_speed_the_start_and_the_inflow_are_shifted(value):
    system = DrivenAdvectionSpec(case="inflow_speed", input=ConstantSpec(value=value))
    (t, x), (u, s) = plane(system), drawn(system)
    a = 1 + 0.1 * value
    expected = np.where(x >= a * t, (x - a * t) ** 2, np.sin(np.pi * (t - x / a)))
    assert np.allclose(s, expected, atol=1e-10)
    assert np.allclose(u, value)
    system = system.model_copy(update={"case": "periodic_speed"})
    assert np.allclose(drawn(system)[1], np.sin(2 * np.pi * (x - a * t)), atol=1e-10)


def test_at_a_linear_speed_the_start_is_that_of_exponential_characteristics():
    # a = p + q x: X = ((p + q x) e^{-qt} - p) / q; τ(x) = ln(1 + q x / p) / q.
    system = DrivenAdvectionSpec(case="inflow_speed", input=LINE)
    (t, x), (u, s) = plane(system), drawn(system)
    p, q = 1 + 0.1 * u[0], 0.1 * (u[-1] - u[0])
    X, began = ((p + q * x) * np.exp(-q * t) - p) / q, np.log(1 + q * x / p) / q - t
    assert np.allclose(s, np.where(X > 0, X**2, np.sin(-np.pi * began)), atol=1e-9)


@pytest.mark.parametrize("case", ["inflow_speed", "periodic_speed"])
def test_the_solution_obeys_its_equation(case):
    # Centred differences, of second order: on half the spacing the residual is a quarter.
    def residual(points):
        system = DrivenAdvectionSpec(case=case, points=points, times=points, end=0.5)
        (t, x), (u, s) = plane(system), drawn(system)
        a = 1 + 0.1 * (u if case == "inflow_speed" else (u + u[::-1]) / 2)
        s_t = (s[2:, 1:-1] - s[:-2, 1:-1]) / (2 * t[1, 0])
        s_x = (s[1:-1, 2:] - s[1:-1, :-2]) / (2 * x[1])
        # Behind the kink that the start and the inflow make, or far from the seam of the circle.
        kept = (x > 0.85) & (t < 0.5)
        return np.abs((s_t + a[1:-1] * s_x)[kept[1:-1, 1:-1]]).max()

    assert math.log2(residual(101) / residual(201)) == pytest.approx(2, abs=0.2)
    assert residual(201) < 5e-3


def test_on_the_circle_a_turn_takes_the_time_of_all_slowness():
    system = DrivenAdvectionSpec(case="periodic_speed", times=1001, end=1.25)
    (t, x), (u, s) = plane(system), drawn(system)
    a = 1 + 0.1 * (u + u[::-1]) / 2
    turn = (1 / a)[:-1].mean()
    back = np.array([np.interp(turn, t[:, 0], column) for column in s.T])
    assert np.allclose(back, np.sin(2 * np.pi * x), atol=1e-4)
    assert np.allclose(s[:, 0], s[:, -1], atol=1e-9)


def test_rough_functions_are_carried_too_and_stalled_ones_are_refused():
    rough = DrivenAdvectionSpec(case="periodic_speed", input=MaternFieldSpec())
    assert np.abs(drawn(rough)[1]).max() <= 1
    with pytest.raises(Underresolved, match="positive"):
        drawn(DrivenAdvectionSpec(case="inflow_speed", input=ConstantSpec(value=-10.0)))


def test_unfit_options_are_refused():
    with pytest.raises(ValidationError, match="diffusion: "):
        DrivenAdvectionSpec(case="inflow_speed", diffusion=0.1)
    with pytest.raises(ValidationError, match="input: "):
        DrivenAdvectionSpec(input=PeriodicGaussianSpec())
