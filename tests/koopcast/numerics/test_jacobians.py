"""Jacobians of batches against hand values and finite differences."""

import torch

from koopcast.generation import Run, SystemDynamics
from koopcast.integrators.rk4 import RK4Spec
from koopcast.numerics.jacobians import jacobian
from koopcast.systems.lorenz96 import Lorenz96Spec


def test_each_vector_has_its_own_jacobian():
    x = torch.tensor([[2.0, 3.0], [5.0, 7.0]]).double()
    image, J = jacobian(lambda x: torch.stack((x[..., 0] * x[..., 1], x[..., 0] ** 2, x[..., 1]), dim=-1), x)
    assert image.tolist() == [[6, 4, 3], [35, 25, 7]]
    assert J.tolist() == [[[3, 2], [4, 0], [0, 1]], [[7, 5], [10, 0], [0, 1]]]


def test_a_constant_has_the_derivative_zero():
    _, J = jacobian(lambda x: torch.ones(*x.shape[:2], 3).double(), torch.ones(2, 4).double())
    assert J.shape == (2, 3, 4)
    assert not J.any()


def test_the_tangent_of_a_model_is_the_limit_of_differences():
    model = SystemDynamics(Run(Lorenz96Spec(points=8), RK4Spec()))
    x = 3 * torch.randn(2, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        image, J = jacobian(lambda x: model.step(x.flatten(0, 1)).unflatten(0, x.shape[:2]), x)
    assert torch.allclose(image, model.step(x), atol=1e-12)
    for entry in range(8):
        h = 1e-5 * torch.eye(8, dtype=torch.float64)[entry]
        central = (model.step(x + h) - model.step(x - h)) / 2e-5
        assert torch.allclose(J[..., entry], central, atol=1e-8)
