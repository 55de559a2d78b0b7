"""Policies of gradients: the same result, and costs that match their formulas."""

import math
from functools import lru_cache

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from koopcast.errors import InvalidInput
from koopcast.generation import Run, SystemDynamics
from koopcast.gradients import AnyGradient, Chain
from koopcast.gradients.revolve import cost
from koopcast.integrators.rk4 import RK4Spec
from koopcast.systems.lorenz96 import Lorenz96Spec

MODEL = SystemDynamics(Run(Lorenz96Spec(), RK4Spec(), dt=0.05))
START = 8 + torch.randn(2, 40, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
TARGETS = torch.randn(300, 40, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
EVERY = 4


def policy(options):
    return TypeAdapter(AnyGradient).validate_python(options)


def seeds(k, x):
    return x - TARGETS[k] if k % EVERY == 0 else None


def chain(n):
    return Chain(lambda x, k: MODEL.step(x), seeds, n)


def by_autograd(n):
    """The gradient of ½ Σ |x_k - target|² through the graph of the whole rollout."""
    x = start = START.clone().requires_grad_()
    total = ((x - TARGETS[0]) ** 2).sum() / 2
    for k in range(1, n + 1):
        x = MODEL.step(x)
        if k % EVERY == 0:
            total = total + ((x - TARGETS[k]) ** 2).sum() / 2
    return torch.autograd.grad(total, start)[0]


def optimum(n, c):
    """The least number of forward steps, by dynamic programming."""

    @lru_cache(None)
    def least(n, c):
        if n == 1:
            return 0
        if c == 1:
            return n * (n - 1) // 2
        return min(m + least(n - m, c - 1) + least(m, c) for m in range(1, n))

    return least(n, c)


# kind, options, forward steps, states, steps within products: at n = 64.
COSTS = [
    ({"kind": "store"}, 64, 65, 64),
    ({"kind": "store", "storage": "disk"}, 64, 65, 64),
    ({"kind": "store", "residual": "stages"}, 64, 65, 0),
    ({"kind": "recompute"}, 64 + 64 * 63 // 2, 2, 64),
    ({"kind": "checkpoint"}, 120, 16, 64),
    ({"kind": "checkpoint", "segment": 8, "storage": "disk"}, 120, 16, 64),
    ({"kind": "checkpoint", "segment": 8, "residual": "stages"}, 128, 16, 0),
    ({"kind": "checkpoint", "segment": 16}, 64 + 4 * 15, 20, 64),
    # C(4 + 4, 4) = 70 is the first above 64: r = 4 and 4·64 - C(8, 5) = 200.
    ({"kind": "revolve", "checkpoints": 4}, 200, 5, 64),
    ({"kind": "revolve", "checkpoints": 1}, 64 * 63 // 2, 2, 64),
    ({"kind": "auto"}, 64, 65, 64),
    ({"kind": "auto", "memory_limit": 5 * 2 * 40 * 8 + 7}, 200, 5, 64),
]


@pytest.mark.parametrize(("options", "steps", "states", "pulled"), COSTS)
def test_a_policy_costs_what_its_formula_says_and_changes_no_gradient(options, steps, states, pulled):
    found = policy(options).gradient(chain(64), START)
    assert (found.forward_steps, found.peak_states, found.pulled_steps) == (steps, states, pulled)
    expected = by_autograd(64)
    assert (found.value - expected).abs().max() <= 1e-12 * expected.abs().max()


@pytest.mark.parametrize("n", [0, 1, 2, 7, 23])
@pytest.mark.parametrize("kind", ["store", "recompute", "checkpoint", "revolve", "auto"])
def test_lengths_that_no_segment_divides_are_differentiated_as_well(kind, n):
    found = policy({"kind": kind}).gradient(chain(n), START)
    assert torch.allclose(found.value, by_autograd(n), rtol=1e-12, atol=0)


def test_revolve_takes_the_least_steps_that_its_checkpoints_allow():
    for n in (2, 5, 17, 40):
        for c in (1, 2, 3, 5):
            assert cost(n, c) == optimum(n, c)
            found = policy({"kind": "revolve", "checkpoints": c}).gradient(chain(n), START)
            assert found.forward_steps == optimum(n, c)
            assert found.peak_states <= c + 1


def test_revolve_keeps_the_binomial_bound():
    for c in range(1, 8):
        for r in range(1, 6):
            n = math.comb(c + r, c)
            assert cost(n, c) < r * n
            # Beyond the bound a step more costs r + 1 steps, before it r.
            assert (cost(n, c) - cost(n - 1, c), cost(n + 1, c) - cost(n, c)) == (r, r + 1)


def test_gradients_of_parameters_are_summed_over_steps():
    weight = torch.tensor(0.9, dtype=torch.float64, requires_grad=True)
    own = Chain(lambda x, k: weight * x, lambda k, x: torch.ones_like(x) if k == 5 else None, 5, (weight,))
    for kind in ("store", "recompute", "checkpoint", "revolve"):
        found = policy({"kind": kind}).gradient(own, torch.full((1, 1), 2.0, dtype=torch.float64))
        # The cost is w⁵ x.
        assert float(found.value) == pytest.approx(0.9**5, rel=1e-14)
        assert float(found.parameters[0]) == pytest.approx(5 * 0.9**4 * 2, rel=1e-14)


def test_steps_with_noise_replay_it():
    def step(x, k):
        noise = torch.randn(2, 40, generator=torch.Generator().manual_seed(k), dtype=torch.float64)
        return MODEL.step(x) + 0.1 * noise

    noisy = Chain(step, seeds, 20)
    first, *others = (policy(kind).gradient(noisy, START).value for kind in ("store", "recompute", "revolve"))
    assert all(torch.equal(first, other) for other in others)


def test_options_that_do_not_fit_are_refused():
    with pytest.raises(InvalidInput, match="segment 65 is above the 64 steps"):
        policy({"kind": "checkpoint", "segment": 65}).gradient(chain(64), START)
    with pytest.raises(InvalidInput, match="below two states of 640 bytes"):
        policy({"kind": "auto", "memory_limit": 1000}).gradient(chain(64), START)
    with pytest.raises(ValidationError, match="checkpoints"):
        policy({"kind": "store", "checkpoints": 3})
    with pytest.raises(ValidationError, match="stages cannot be kept on disk"):
        policy({"kind": "store", "residual": "stages", "storage": "disk"})
