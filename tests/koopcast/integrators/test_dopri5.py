import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from koopcast.dynamics import Flow, Tendency
from koopcast.errors import Diverged, ShapeMismatch
from koopcast.integrators.dopri5 import ERROR, STAGES, Dopri5Spec

FORCED = {"rtol": 1e9, "atol": 1e9}
"""No error is above such tolerances: one call is one step."""


def two_bodies(x):
    """A body about another at rest: x = (position, velocity), the period is 2π at half axis 1."""
    distance = x[..., :2].square().sum(-1, keepdim=True).sqrt()
    return torch.cat((x[..., 2:], -x[..., :2] / distance**3), dim=-1)


def perihelion(*eccentricities):
    e = torch.tensor(eccentricities, dtype=torch.float64)
    return torch.stack((1 - e, 0 * e, 0 * e, ((1 + e) / (1 - e)).sqrt()), dim=-1)


def run(step, x, count):
    for _ in range(count):
        x = step(x)
    return x


def counted(function):
    calls = []

    def wrapped(x):
        calls.append(x.shape)
        return function(x)

    return wrapped, calls


def test_the_tableau_meets_the_conditions_of_order_five_and_its_estimate_those_of_order_four():
    # Σ b = 1, Σ b c^k = 1/(k + 1) up to k = 4; the weights of the error are orthogonal to c^0..c^3.
    c = np.array([0.0, *(math.fsum(weights) for weights in STAGES)])
    b = np.array([*STAGES[-1], 0.0])
    for k in range(5):
        assert b @ c**k == pytest.approx(1 / (k + 1), abs=1e-14)
    for k in range(4):
        assert np.array(ERROR) @ c**k == pytest.approx(0, abs=1e-14)
    assert abs(np.array(ERROR) @ c**4) > 1e-4
    assert c[1:] == pytest.approx([1 / 5, 3 / 10, 4 / 5, 8 / 9, 1, 1])


def test_dopri5_has_fifth_order_where_its_steps_are_forced():
    x = perihelion(0.3)
    errors = [
        (run(Dopri5Spec(**FORCED).build(Tendency(two_bodies), 2 * math.pi / n), x, n) - x).norm().item()
        for n in (60, 120, 240)
    ]
    assert [math.log2(a / b) for a, b in pairwise(errors)] == pytest.approx([5, 5], abs=0.35)


@pytest.mark.parametrize("tolerance", [1e-6, 1e-8, 1e-10])
def test_dopri5_meets_its_tolerance_on_eccentric_orbits_as_well_as_scipy(tolerance):
    # Each step makes errors up to the tolerance. Over a period they add up, and a slip in energy becomes one
    # along the orbit, so the factor between both is the orbit's: scipy's RK45 measures it.
    x = perihelion(0.0, 0.5, 0.9)
    ours = Dopri5Spec(rtol=tolerance, atol=tolerance).build(Tendency(two_bodies), 2 * math.pi)(x)
    for sample, growth in enumerate((500, 1000, 1e5)):
        theirs = solve_ivp(
            lambda _, y: two_bodies(torch.from_numpy(y)).numpy(),
            (0, 2 * math.pi),
            x[sample].numpy(),
            rtol=tolerance,
            atol=tolerance,
        ).y[:, -1]
        error, expected = (float((torch.as_tensor(end) - x[sample]).norm()) for end in (ours[sample], theirs))
        assert error == pytest.approx(expected, rel=0.2)
        assert error < growth * tolerance


def test_a_sample_takes_its_own_steps_and_does_not_feel_the_others():
    step = Dopri5Spec().build(Tendency(two_bodies), 1.0)
    x = perihelion(0.9, 0.1, 0.0)
    together = step(x)
    for sample in range(3):
        assert torch.equal(step(x[sample : sample + 1])[0], together[sample])
        assert torch.equal(step(x[sample]), together[sample])


def test_a_sample_is_rounded_alike_in_arrays_of_any_batch_and_layout():
    # Sums over columns and over rows are rounded differently where a sample has more than eight numbers.
    x = np.random.default_rng(0).standard_normal((50, 40))
    step = Dopri5Spec().build(Tendency(lambda x: np.sin(3 * x) - x**3, takes_arrays=True), 1.0)
    together = step(np.asfortranarray(x))
    for sample in range(50):
        assert np.array_equal(step(x[sample : sample + 1])[0], together[sample])


def test_a_record_depends_on_the_one_before_alone():
    step = Dopri5Spec().build(Tendency(two_bodies), 1.0)
    first = step(perihelion(0.9))
    step(perihelion(0.0))
    assert torch.equal(step(perihelion(0.9)), first)


def test_a_smooth_interval_is_crossed_at_once_and_a_rough_one_in_many_steps():
    for rate, most in ((0.01, 7), (100.0, 1000)):
        function, calls = counted(lambda x, rate=rate: -rate * x)
        x = Dopri5Spec().build(Tendency(function), 1.0)(torch.ones(1, dtype=torch.float64))
        assert x.item() == pytest.approx(math.exp(-rate), rel=1e-4, abs=1e-8)
        assert len(calls) <= most
    assert len(calls) > 7


def test_arrays_give_what_tensors_give_and_states_give_gradients():
    matrix = torch.tensor([[0.0, -3.0], [3.0, 0.0]], dtype=torch.float64)
    step = Dopri5Spec().build(Tendency(lambda x: x @ matrix.T), 0.7)
    plain = Dopri5Spec().build(Tendency(lambda x: x @ matrix.numpy().T, takes_arrays=True), 0.7)
    x = torch.tensor([[1.0, 2.0], [0.0, 1.0]], dtype=torch.float64, requires_grad=True)
    assert np.allclose(plain(x.detach().numpy()), step(x).detach().numpy(), rtol=1e-13)
    gradient = torch.autograd.functional.jacobian(step, x[0].detach())
    assert torch.allclose(gradient, torch.matrix_exp(0.7 * matrix), atol=1e-5)


def test_single_precision_is_kept_and_its_round_off_is_the_least_tolerance():
    x = perihelion(0.5).float()
    after = Dopri5Spec(rtol=1e-12, atol=1e-12).build(Tendency(two_bodies), 2 * math.pi)(x)
    assert after.dtype == torch.float32
    assert (after - x).abs().max() < 1e-3


def test_a_blow_up_and_a_stiff_problem_are_refused_with_the_sample_named():
    # x' = x² from 1 has a pole at t = 1.
    step = Dopri5Spec().build(Tendency(lambda x: x * x), 2.0)
    with pytest.raises(Diverged, match="sample 1 of the batch needs steps below 2e-08"):
        step(torch.tensor([[0.1], [1.0]], dtype=torch.float64))
    stiff = Dopri5Spec(least_step=1e-3).build(Tendency(lambda x: -1e5 * (x - 1)), 1.0)
    with pytest.raises(Diverged, match="stiff"):
        stiff(torch.zeros(1, 1, dtype=torch.float64))


def test_dopri5_refuses_problems_of_another_form():
    with pytest.raises(ShapeMismatch):
        Dopri5Spec().build(Flow(lambda x, time: x), 0.1)
    assert Dopri5Spec().takes("tendency")
    assert not Dopri5Spec().takes("flow")
