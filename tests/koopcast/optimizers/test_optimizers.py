"""Optimizers: contract of the family, and AdamW's first step by hand."""

import pytest
import torch

from koopcast.optimizers import AdamWSpec, AnyOptimizer, OptimizerSpec
from koopcast.spec import members


@pytest.mark.parametrize("spec", members(AnyOptimizer), ids=lambda spec: spec.model_fields["kind"].default)
def test_every_optimizer_finds_the_minimum_of_a_quadratic(spec: type[OptimizerSpec]) -> None:
    x = torch.nn.Parameter(torch.tensor([3.0, -2.0]))
    optimizer = spec(learning_rate=0.05).build([x])
    for _ in range(600):
        optimizer.zero_grad()
        (torch.tensor([1.0, 10.0]) * (x - 1).square()).sum().backward()
        optimizer.step()
    assert torch.allclose(x, torch.ones(2), atol=0.02)


def test_the_first_step_of_adamw_is_the_learning_rate_along_the_sign() -> None:
    # m̂ / √v̂ = sign(g) at the first step, after the decay x (1 - η λ).
    x = torch.nn.Parameter(torch.tensor([2.0, -1.0]))
    optimizer = AdamWSpec(learning_rate=0.1, weight_decay=0.5).build([x])
    x.grad = torch.tensor([4.0, 0.25])
    optimizer.step()
    assert torch.allclose(x, torch.tensor([2 * 0.95 - 0.1, -1 * 0.95 - 0.1]), atol=1e-6)
