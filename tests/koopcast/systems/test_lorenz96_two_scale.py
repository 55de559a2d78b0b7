import numpy as np
import pytest
import torch

from koopcast.dynamics import Setting
from koopcast.integrators.rk4 import RK4Spec
from koopcast.systems.lorenz96 import Lorenz96Spec
from koopcast.systems.lorenz96_two_scale import Lorenz96TwoScaleSpec

SMALL = Lorenz96TwoScaleSpec(slow=6, fast=4, forcing=8.0)


def drawn(system, count=3, seed=1):
    return torch.randn(
        count, *system.describe().shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def cells(system, state):
    both = state.reshape(len(state), system.slow, 1 + system.fast)
    return both[..., 0], both[..., 1:].reshape(len(state), -1)


def test_the_tendency_is_that_of_the_paper_cell_by_cell():
    system = Lorenz96TwoScaleSpec(
        slow=4, fast=3, forcing=7.0, coupling=0.5, time_ratio=8.0, amplitude_ratio=4.0
    )
    state = drawn(system, 1)
    X, Y = (part[0].tolist() for part in cells(system, state))
    slow, fast = (part[0].tolist() for part in cells(system, system.problem().function(state)))
    K, J, F, h, c, b = 4, 3, 7.0, 0.5, 8.0, 4.0
    for k in range(K):
        fed = sum(Y[J * k : J * (k + 1)])
        expected = -X[k - 1] * (X[k - 2] - X[(k + 1) % K]) - X[k] + F - h * c / b * fed
        assert slow[k] == pytest.approx(expected, abs=1e-12)
    for j in range(J * K):
        after, second = Y[(j + 1) % (J * K)], Y[(j + 2) % (J * K)]
        expected = -c * b * after * (second - Y[j - 1]) - c * Y[j] + h * c / b * X[j // J]
        assert fast[j] == pytest.approx(expected, abs=1e-11)


def test_without_forcing_and_damping_the_energy_of_both_scales_stays():
    # d/dt Σ(X² + Y²)/2 = Σ X(F - X) - c Σ Y²: advection and coupling only hand energy on.
    state = drawn(SMALL)
    X, Y = cells(SMALL, state)
    rate = (state * SMALL.problem().function(state)).sum(1)
    expected = (X * (8 - X)).sum(1) - 10 * Y.square().sum(1)
    assert torch.allclose(rate, expected, atol=1e-10)


def test_without_coupling_the_slow_cells_are_the_one_scale_ring():
    system = SMALL.model_copy(update={"coupling": 0.0})
    state = drawn(system)
    X, _ = cells(system, state)
    rate, _ = cells(system, system.problem().function(state))
    one_scale = Lorenz96Spec(points=6, forcing=8.0).problem()
    assert torch.allclose(rate, one_scale.function(X), atol=1e-13)


def test_every_so_many_cells_are_the_slow_ones():
    state = SMALL.initial(2, torch.Generator().manual_seed(2))[..., 0]
    assert torch.equal(state[:, :: 1 + SMALL.fast], cells(SMALL, state)[0])


def test_arrays_step_as_tensors_do_and_parameters_may_differ_by_sample():
    state = drawn(SMALL, 2)
    function = SMALL.problem().function
    assert np.allclose(function(np.asfortranarray(state.numpy())), function(state).numpy(), atol=1e-12)
    forcing = torch.tensor([8.0, 20.0], dtype=torch.float64)
    varied = SMALL.problem(Setting(parameters={"forcing": forcing})).function(state)
    strong = SMALL.model_copy(update={"forcing": 20.0}).problem().function(state)
    assert torch.allclose(varied[0], function(state)[0])
    assert torch.allclose(varied[1], strong[1])


def test_the_fast_cells_swing_less_and_faster_than_the_slow_ones():
    system = Lorenz96TwoScaleSpec(slow=8, fast=8)
    step = RK4Spec().build(system.problem(), system.default_time_step())
    state = system.initial(2, torch.Generator().manual_seed(3))[..., 0].numpy()
    for _ in range(600):
        state = step(state)
    before, after = state, step(state)
    slow, fast = (
        (cells(system, torch.from_numpy(np.ascontiguousarray(s)))[0] for s in (before, after)),
        (cells(system, torch.from_numpy(np.ascontiguousarray(s)))[1] for s in (before, after)),
    )
    (X, X_next), (Y, Y_next) = slow, fast
    assert float(Y.std()) < 0.3 * float(X.std())
    assert float((Y_next - Y).std() / Y.std()) > 2 * float((X_next - X).std() / X.std())
