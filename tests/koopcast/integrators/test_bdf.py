import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from koopcast.dynamics import Flow, Tendency
from koopcast.errors import Diverged, ShapeMismatch
from koopcast.integrators.bdf import THIRD, BDFSpec, D, W

FORCED = {"rtol": 1e3, "atol": 1e3}
"""No error is above such tolerances: one call is one step."""


def robertson(x):
    """Three reactions whose rates lie nine orders apart."""
    first, second, third = x[..., 0], x[..., 1], x[..., 2]
    slow, fast = 0.04 * first, 1e4 * second * third
    pair = 3e7 * second**2
    parts = (fast - slow, slow - fast - pair, pair)
    return torch.stack(parts, -1) if isinstance(x, torch.Tensor) else np.stack(parts, -1)


def heat(points):
    """u_t = u_xx on (0, 1), zero at both ends, by second differences on inner nodes."""
    h = 1 / (points + 1)

    def rate(u):
        padded = torch.nn.functional.pad(u, (1, 1))
        return (padded[..., 2:] - 2 * u + padded[..., :-2]) / h**2

    return rate


def counted(function):
    calls = []

    def wrapped(x):
        calls.append(x.shape)
        return function(x)

    return wrapped, calls


def test_the_weights_meet_the_conditions_of_their_orders():
    # Nodes 0, γ = 2d, 1. Σ b = 1, Σ b c = 1/2; those of the estimate also Σ b c² = 1/3 and Σ b A c = 1/6.
    b, c, A = np.array([W, W, D]), np.array([0, 2 * D, 1]), np.array([[0, 0, 0], [D, D, 0], [W, W, D]])
    third = np.array(THIRD)
    for weights in (b, third):
        assert weights.sum() == pytest.approx(1)
        assert weights @ c == pytest.approx(1 / 2)
    assert third @ c**2 == pytest.approx(1 / 3)
    assert third @ A @ c == pytest.approx(1 / 6)
    assert abs(b @ c**2 - 1 / 3) > 1e-2


def test_bdf_has_second_order_where_its_steps_are_forced():
    # x' = -x² from 1: x(t) = 1/(1 + t).
    errors = []
    for n in (20, 40, 80):
        step, x = (
            BDFSpec(**FORCED).build(Tendency(lambda x: -x * x), 1 / n),
            torch.ones(1, dtype=torch.float64),
        )
        for _ in range(n):
            x = step(x)
        errors.append(abs(x.item() - 0.5))
    assert [math.log2(a / b) for a, b in pairwise(errors)] == pytest.approx([2, 2], abs=0.1)


def test_a_linear_state_is_multiplied_by_the_rational_function_of_the_method():
    # With z₁ = z x, z₂ = z (x + d z₁)/(1 - d z), x₊ = (x + w z₁ + w z₂)/(1 - d z).
    for z in (-0.5, -30.0, 0.3):
        step = BDFSpec(**FORCED).build(Tendency(lambda x, z=z: z * x), 1.0)
        second = z * (1 + D * z) / (1 - D * z)
        expected = (1 + W * z + W * second) / (1 - D * z)
        assert step(torch.ones(1, dtype=torch.float64)).item() == pytest.approx(expected, rel=1e-7)


def test_a_stiff_part_is_damped_at_once():
    # R(z) falls as 1/z: at z = -1e8 one step leaves less than 1e-7 of it.
    step = BDFSpec(**FORCED).build(Tendency(lambda x: -1e8 * x), 1.0)
    assert abs(step(torch.ones(1, dtype=torch.float64)).item()) < 1e-7


def test_bdf_follows_the_reactions_of_robertson_to_their_published_state():
    # At t = 40 (Hairer and Wanner 1996, IV.10): 0.7158270688, 0.9185534765e-5, 0.2841637457.
    function, calls = counted(robertson)
    step = BDFSpec(rtol=1e-5, atol=1e-10).build(Tendency(function), 40.0)
    end = step(torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64))
    published = torch.tensor([0.7158270688, 0.9185534765e-5, 0.2841637457], dtype=torch.float64)
    assert torch.allclose(end, published, rtol=2e-4, atol=0)
    assert end.sum().item() == pytest.approx(1, abs=1e-9)
    assert len(calls) < 4000


@pytest.mark.parametrize("tolerance", [1e-3, 1e-5])
def test_bdf_meets_its_tolerance_on_heat_conduction_with_banded_matrices(tolerance):
    points = 63
    nodes = torch.arange(1, points + 1, dtype=torch.float64) / (points + 1)
    u = torch.stack((torch.sin(math.pi * nodes), torch.sin(2 * math.pi * nodes) + (nodes > 0.5)))
    eigen = 4 * (points + 1) ** 2 * torch.sin(math.pi * nodes / 2) ** 2
    modes = math.sqrt(2 / (points + 1)) * torch.sin(
        math.pi * torch.outer(nodes, torch.arange(1.0, points + 1))
    )
    exact = (u @ modes * torch.exp(-0.05 * eigen)) @ modes.T
    function, calls = counted(heat(points))
    step = BDFSpec(rtol=tolerance, atol=tolerance).build(Tendency(function, bandwidth=1), 0.05)
    assert (step(u) - exact).abs().max() < 30 * tolerance
    assert len(calls) < (250 if tolerance == 1e-3 else 1000)


def test_banded_and_full_matrices_give_the_same():
    u = torch.rand(2, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    method = BDFSpec(rtol=1e-3, atol=1e-4)
    full, banded = (method.build(Tendency(heat(20), bandwidth=b), 0.01)(u) for b in (None, 1))
    assert torch.allclose(full, banded, atol=1e-9)


def test_a_sample_takes_its_own_steps_and_does_not_feel_the_others():
    u = torch.rand(3, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    u[1] *= 100
    step = BDFSpec(rtol=1e-3, atol=1e-4).build(Tendency(heat(20), bandwidth=1), 0.01)
    together = step(u)
    for sample in range(3):
        assert torch.equal(step(u[sample : sample + 1])[0], together[sample])
        assert torch.equal(step(u[sample]), together[sample])


def test_varied_parameters_stay_with_their_samples():
    rates = torch.tensor([[1.0], [1e3], [1e6]], dtype=torch.float64)
    step = BDFSpec().build(Tendency(lambda x: rates * (x.cos() - x)), 1.0)
    end = step(torch.zeros(3, 1, dtype=torch.float64))
    for row in range(3):
        alone = solve_ivp(
            lambda _, x, row=row: float(rates[row]) * (np.cos(x) - x), (0, 1), [0.0], "Radau", rtol=1e-9
        )
        assert end[row].item() == pytest.approx(alone.y[0, -1], abs=2e-5)


def test_arrays_give_what_tensors_give_and_single_precision_is_kept():
    x = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.0, 0.5]], dtype=torch.float64)
    step = BDFSpec(rtol=1e-4, atol=1e-8).build(Tendency(robertson, takes_arrays=True), 1.0)
    assert np.allclose(step(np.asfortranarray(x.numpy())), step(x).numpy(), rtol=1e-12)
    single = BDFSpec(rtol=1e-3, atol=1e-6).build(Tendency(robertson), 1.0)(x.float())
    assert single.dtype == torch.float32
    assert (single - step(x)).abs().max() < 1e-2


def test_a_blow_up_is_refused_with_the_sample_named():
    # x' = x² from 1 has a pole at t = 1.
    step = BDFSpec(rtol=1e-3, atol=1e-4).build(Tendency(lambda x: x * x), 2.0)
    with pytest.raises(Diverged, match="sample 1 of the batch needs steps below"):
        step(torch.tensor([[0.1], [1.0]], dtype=torch.float64))


def test_bdf_refuses_problems_of_another_form():
    with pytest.raises(ShapeMismatch):
        BDFSpec().build(Flow(lambda x, time: x), 0.1)
    assert BDFSpec().takes("tendency")
    assert not BDFSpec().takes("flow")
