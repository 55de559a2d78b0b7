"""Tangent and adjoint of every evolving system, as 4D-Var sees it: two steps of the forecast model."""

import math

import pytest
import torch
from pydantic import TypeAdapter

from koopcast.generation import Run, SystemDynamics
from koopcast.integrators import AnyIntegrator
from koopcast.numerics.derivatives import pushed
from koopcast.spec import kind_of, members
from koopcast.systems import AnySystem
from koopcast.systems.base import EvolvingSpec

EVOLVING = {kind_of(spec): spec for spec in members(AnySystem) if issubclass(spec, EvolvingSpec)}
SMALL = {
    "advection": {"points": 32},
    "burgers": {"points": 32},
    "diffusion_reaction": {"points": 12},
    "diffusion_sorption": {"points": 32},
    "forced_reaction": {"points": 33},
    "kdv": {"points": 32},
    "navier_stokes": {"points": 16},
    "quasi_geostrophic": {"points": 17},
    # The limiter of the linear reconstruction has kinks wherever slopes change sign.
    "shallow_water": {"points": 12, "reconstruction": "constant"},
}
INTEGRATORS = {"diffusion_sorption": "rk4"}
"""Where the default goes through LAPACK."""
DISCRETE = {"pca_automaton"}
"""States are colours, which have no derivative."""
STEPS = (1e-3, 5e-4)


def seeded():
    return torch.Generator().manual_seed(5)


def case(kind):
    """A forecast model, a state in general position, a direction and a covector."""
    system = EVOLVING[kind](**SMALL.get(kind, {}))
    integrator = TypeAdapter(AnyIntegrator).validate_python(
        INTEGRATORS.get(kind, system.default_integrator())
    )
    model, g = SystemDynamics(Run(system, integrator, record_every=2)), seeded()
    x = system.initial(2, g).flatten(1).double()
    size = max(float(x.std()), 0.1)
    draws = torch.randn(3, *x.shape, generator=g, dtype=torch.float64)
    return model, x + 0.05 * size * draws[0], size * draws[1], draws[2]


def adjoint(model, x, covector):
    start = x.clone().requires_grad_()
    return torch.autograd.grad(model.step(start), start, covector)[0]


DIFFERENTIABLE = sorted(set(EVOLVING) - DISCRETE)


@pytest.mark.parametrize("kind", DIFFERENTIABLE)
def test_tangent_and_adjoint_are_transposes(kind):
    model, x, direction, covector = case(kind)
    value, tangent = pushed(model.step, x, direction)
    back = adjoint(model, x, covector)
    scale = tangent.norm() * covector.norm()
    assert abs(float((tangent * covector).sum() - (direction * back).sum())) <= 1e-12 * float(scale)
    # Derivatives are of the forecast itself, whichever way it is computed.
    assert torch.allclose(value, model.step(x), rtol=1e-12, atol=1e-12 * float(value.abs().max()))
    transformed = torch.func.vjp(model.step, x)[1](covector)[0]
    assert torch.allclose(transformed, back, rtol=1e-10, atol=1e-12 * float(back.abs().max()))


@pytest.mark.parametrize("kind", DIFFERENTIABLE)
def test_the_models_own_tangent_is_that_of_its_step(kind):
    model, x, direction, _ = case(kind)
    for own, other in zip(model.push(x, direction), pushed(model.step, x, direction), strict=True):
        assert torch.allclose(own, other, rtol=1e-11, atol=1e-12 * float(other.abs().max()))


@pytest.mark.parametrize("kind", DIFFERENTIABLE)
def test_what_the_tangent_leaves_over_is_of_second_order(kind):
    model, x, direction, _ = case(kind)
    direction = direction / 10
    value, tangent = pushed(model.step, x, direction)
    left = [float((model.step(x + h * direction) - value - h * tangent).norm()) for h in STEPS]
    # Nothing but rounding is left of a linear system.
    is_linear = max(left) <= 1e-13 * float(value.norm())
    assert is_linear or math.log2(left[0] / left[1]) == pytest.approx(2, abs=0.05)


def test_no_step_writes_over_what_it_is_given():
    for kind in DIFFERENTIABLE:
        model, x, *_ = case(kind)
        before = x.clone()
        model.step(x)
        assert torch.equal(x, before)
