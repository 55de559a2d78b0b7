import math

import pytest
import torch
from pydantic import ValidationError

from koopcast.grids import Axis
from koopcast.random_fields.constant import ConstantSpec
from koopcast.random_fields.white import WhiteSpec

SQUARE = (Axis("y", 12, length=1.0), Axis("x", 12, length=1.0))


def generator():
    return torch.Generator().manual_seed(0)


def test_white_noise_has_the_stated_variance_and_no_correlation_between_neighbours():
    u = WhiteSpec(std=2.0).draw(SQUARE, 400, generator())
    assert u.square().mean().item() == pytest.approx(4.0, rel=5 * math.sqrt(2 / u.numel()))
    assert abs((u[..., 1:] * u[..., :-1]).mean().item()) < 5 * 4 / math.sqrt(u.numel())


def test_a_bound_of_one_keeps_the_norm_of_the_drawn_nodes_below_the_root_of_their_number():
    spec = WhiteSpec(bound=1.0, ends="zero")
    u = spec.draw(SQUARE, 300, generator())
    assert u.flatten(1).norm(dim=1).max() <= 10
    assert u[:, 0].abs().max() == u[:, -1].abs().max() == u[..., 0].abs().max() == u[..., -1].abs().max() == 0
    assert (u[:, 1:-1, 1:-1] != 0).all()
    # Of χ² with 100 degrees of freedom, given that it is at most 100, the mean is 89.1 and the deviation 7.8.
    assert u.square().sum(dim=(1, 2)).mean().item() == pytest.approx(89.14, abs=5 * 7.8 / math.sqrt(300))


def test_a_bound_below_one_that_could_draw_for_ever_is_refused():
    with pytest.raises(ValidationError):
        WhiteSpec(bound=0.9)


def test_a_constant_field_draws_nothing():
    stream = generator()
    assert (ConstantSpec(value=-2.5).draw(SQUARE, 2, stream) == -2.5).all()
    assert torch.equal(stream.get_state(), generator().get_state())
