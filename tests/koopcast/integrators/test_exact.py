import math

import pytest
import torch

from koopcast.dynamics import Flow, Tendency
from koopcast.errors import ShapeMismatch
from koopcast.integrators.exact import ExactSpec


def decay(x, time):
    return x * math.exp(-time)


def test_exact_steps_make_the_flow_of_their_sum():
    step, x = ExactSpec().build(Flow(decay), 0.3), torch.ones(2, 3, dtype=torch.float64)
    for _ in range(10):
        x = step(x)
    assert torch.allclose(x, torch.full_like(x, math.exp(-3)), rtol=1e-14)


def test_the_time_step_is_passed_through():
    given = []
    ExactSpec().build(Flow(lambda x, time: (given.append(time), x)[1]), 2.0)(torch.zeros(1))
    assert given == [2.0]


def test_exact_refuses_problems_that_are_no_flow():
    with pytest.raises(ShapeMismatch, match="closed form"):
        ExactSpec().build(Tendency(lambda x: x), 0.1)
    assert ExactSpec().takes("flow")
    assert not ExactSpec().takes("tendency")
