import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from koopcast.grids import Axis
from koopcast.random_fields.bumps import BumpsSpec
from koopcast.random_fields.chebyshev_series import ChebyshevSeriesSpec
from koopcast.random_fields.constant import ConstantSpec
from koopcast.random_fields.periodic import PeriodicGaussianSpec
from koopcast.systems.forced_ode import ForcedODESpec


def drawn(system, seed=0):
    return system.draw(torch.Generator().manual_seed(seed), {})


def test_the_antiderivative_of_a_polynomial_has_its_coefficients_divided():
    system = ForcedODESpec(input=ChebyshevSeriesSpec(degree=6), length=3.0, points=40)
    fields, x = drawn(system), np.linspace(0, 3, 40)
    u = np.polynomial.Polynomial.fit(x, fields["u"], 6)
    assert np.allclose(u.integ(lbnd=0.0)(x), fields["s"], atol=1e-9)


@pytest.mark.parametrize("value", [0.7, 2.0])
def test_the_nonlinear_equation_with_constant_input_is_a_hyperbolic_tangent(value):
    # s' = c - s² from 0: s = √c tanh(√c x).
    system = ForcedODESpec(equation="nonlinear", input=ConstantSpec(value=value), length=2.0, points=30)
    root = math.sqrt(value)
    assert np.allclose(drawn(system)["s"], root * np.tanh(root * np.linspace(0, 2, 30)), atol=1e-9)


def test_a_nonlinear_solution_that_escapes_is_not_finite():
    # s' = -1 - s²: s = -tan x has a pole at π/2.
    system = ForcedODESpec(equation="nonlinear", input=ConstantSpec(value=-1.0), length=3.0)
    assert not np.isfinite(drawn(system)["s"]).all()
    assert np.isfinite(drawn(system)["s"][:50]).all()


def test_a_slightly_pushed_pendulum_is_a_harmonic_oscillator():
    # s'' = -g s + ε: s = ε (1 - cos ωx)/ω², v = ε sin(ωx)/ω with ω² = g; the cubic term is of order ε³.
    push, g = 1e-4, 4.0
    system = ForcedODESpec(equation="pendulum", input=ConstantSpec(value=push), gravity=g, length=5.0)
    fields, x = drawn(system), np.linspace(0, 5, 100)
    assert np.allclose(fields["s"], push * (1 - np.cos(2 * x)) / g, atol=1e-11)
    assert np.allclose(fields["v"], push * np.sin(2 * x) / 2, atol=1e-11)


def test_energy_of_the_pendulum_grows_by_the_work_of_a_constant_input():
    system = ForcedODESpec(equation="pendulum", input=ConstantSpec(value=1.5), length=6.0, steps=3000)
    fields = drawn(system)
    energy = fields["v"] ** 2 / 2 + 1 - np.cos(fields["s"]) - 1.5 * fields["s"]
    assert abs(energy).max() < 1e-10


@pytest.mark.parametrize("equation", ["antiderivative", "nonlinear", "pendulum"])
def test_the_error_falls_with_the_fourth_power_of_the_step(equation):
    def solved(steps):
        return drawn(ForcedODESpec(equation=equation, points=11, steps=steps), seed=3)["s"]

    exact = solved(3000)
    coarse, fine = (np.abs(solved(steps) - exact).max() for steps in (40, 80))
    assert math.log2(coarse / fine) == pytest.approx(4, abs=0.2)
    assert np.abs(solved(400) - exact).max() < 2e-11


@pytest.mark.parametrize("equation", ["antiderivative", "pendulum"])
def test_a_finer_grid_holds_the_same_input_and_solution(equation):
    coarse, fine = (drawn(ForcedODESpec(equation=equation, points=size)) for size in (26, 101))
    for name in coarse:
        assert np.allclose(fine[name][::4], coarse[name], atol=2e-10)


def test_fields_are_those_that_the_contract_names():
    info = ForcedODESpec(equation="pendulum", points=7, length=2.0).describe()
    assert list(info.variables) == ["u", "s", "v"]
    assert info.axes == (Axis("x", 7, length=2.0),)
    assert list(drawn(ForcedODESpec(equation="pendulum", points=7))) == ["u", "s", "v"]
    assert {name: values.shape for name, values in drawn(ForcedODESpec(points=7)).items()} == {
        "u": (7,),
        "s": (7,),
    }


def test_options_without_meaning_are_refused():
    with pytest.raises(ValidationError, match="gravity: the equation 'nonlinear' has none"):
        ForcedODESpec(equation="nonlinear", gravity=2.0)
    with pytest.raises(ValidationError, match="input: "):
        ForcedODESpec(input=PeriodicGaussianSpec())
    assert ForcedODESpec(input=BumpsSpec()).describe().num_channels == 2
