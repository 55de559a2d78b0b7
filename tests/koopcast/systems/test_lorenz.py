import pytest
import torch

from koopcast.dynamics import Tendency
from koopcast.integrators.rk4 import RK4Spec
from koopcast.systems.lorenz63 import Lorenz63Spec
from koopcast.systems.lorenz96 import Lorenz96Spec

CPU = torch.device("cpu")


def tendency(system, x):
    problem = system.problem()
    assert isinstance(problem, Tendency)
    return problem.function(x)


def test_lorenz63_is_at_rest_at_its_three_fixed_points():
    # x = y = ±√(β(ρ-1)) = ±√72, z = ρ - 1 = 27, and the origin.
    root = 72.0**0.5
    points = torch.tensor([[0, 0, 0], [root, root, 27], [-root, -root, 27]], dtype=torch.float64)
    assert tendency(Lorenz63Spec(), points).abs().max() < 1e-13


def test_lorenz63_has_the_published_tendency():
    # At (1, 2, 3): 10 (2-1) = 10; 1 (28-3) - 2 = 23; 1·2 - 8/3·3 = -6.
    x = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    assert torch.allclose(tendency(Lorenz63Spec(), x), torch.tensor([10.0, 23.0, -6.0], dtype=torch.float64))


def test_lorenz96_takes_its_neighbours_from_the_right_sides():
    # x = (1, 2, 3, 5): k=0: (2 - 3)·5 - 1 + 8 = 2; k=1: (3 - 5)·1 - 2 + 8 = 4; k=2: (5 - 1)·2 - 3 + 8 = 13;
    # k=3: (1 - 2)·3 - 5 + 8 = 0.
    x = torch.tensor([1.0, 2.0, 3.0, 5.0], dtype=torch.float64)
    expected = torch.tensor([2.0, 4.0, 13.0, 0.0], dtype=torch.float64)
    assert torch.equal(tendency(Lorenz96Spec(points=4), x), expected)


def test_lorenz96_conserves_energy_but_for_forcing_and_damping():
    # d/dt Σx²/2 = Σ x_k (F - x_k): the quadratic terms cancel on the ring.
    x = torch.randn(5, 40, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    rate = (x * tendency(Lorenz96Spec(), x)).sum(1)
    assert torch.allclose(rate, (x * (8 - x)).sum(1), atol=1e-11)


def test_lorenz96_gives_gradients_and_keeps_no_memory_of_other_shapes():
    problem = Lorenz96Spec().problem()
    assert isinstance(problem, Tendency)
    f = problem.function
    x = torch.randn(2, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    plain = f(x)
    assert f(x[:1]).shape == (1, 40)
    assert torch.autograd.gradcheck(f, x.clone().requires_grad_())
    assert torch.equal(f(x), plain)


@pytest.mark.parametrize("system", [Lorenz63Spec(), Lorenz96Spec()])
def test_initial_states_of_a_system_repeat_with_the_seed_and_reach_the_attractor(system):
    first, again = (system.initial(3, torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(first, again)
    assert first.shape == (3, *system.describe().shape, 1)
    step = RK4Spec().build(system.problem(), system.default_time_step())
    x = first[..., 0]
    for _ in range(round(system.spin_up_time() / system.default_time_step())):
        x = step(x)
    assert torch.isfinite(x).all()
    assert not torch.allclose(x[0], x[1], atol=1.0)
