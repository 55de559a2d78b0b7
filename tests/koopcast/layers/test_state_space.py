"""State-space layers: hold, convolution and recurrence, conjugate pairs, exact HiPPO."""

import numpy as np
import pytest
import torch
from scipy.signal import cont2discrete

from koopcast.koopman.ssm_network import Recurrence
from koopcast.layers.state_space import DPLR, S4, S5, Slots, convolved
from koopcast.numerics.hippo import Diagonalised, Perturbation, hippo_legs, normal_part, perturbed

KINDS = ("s4d", "s4_ptd", "dplr", "s5", "s5_ptd")


def layer_of(initial: str, n: int = 8, channels: int = 3) -> S4 | S5 | DPLR:
    recurrence = Recurrence(initial, n, (0.01, 0.2), Perturbation(), 0)
    layer = recurrence.build(channels, torch.Generator().manual_seed(1))
    assert isinstance(layer, (S4, S5, DPLR))
    return layer


def inputs(times: int = 100, channels: int = 3) -> torch.Tensor:
    return torch.randn(2, times, channels, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("initial", KINDS)
@torch.no_grad()
def test_the_convolution_is_the_recurrence(initial: str) -> None:
    layer, u = layer_of(initial), inputs()
    y = layer(u)
    assert float((y - layer.recurrent(u)).abs().max()) < 1e-5 * float(y.abs().max())
    # What comes later changes nothing before.
    later = u.clone()
    later[:, 60:] += 1
    assert torch.allclose(layer(later)[:, :60], y[:, :60], atol=1e-5 * float(y.abs().max()))


def test_the_convolution_is_the_sum() -> None:
    u, kernel = inputs(5, 2), torch.randn(5, 2, generator=torch.Generator().manual_seed(3))
    direct = torch.stack([sum(kernel[j] * u[:, t - j] for j in range(t + 1)) for t in range(5)], dim=1)
    assert torch.allclose(convolved(u, kernel), direct, atol=1e-6)
    assert torch.allclose(convolved(u + 0j, kernel + 0j).real, direct, atol=1e-6)


@pytest.mark.parametrize("initial", ["s4_ptd", "dplr"])
def test_the_zero_order_hold_is_that_of_scipy(initial: str) -> None:
    n, layer = 8, layer_of(initial)
    A, B = hippo_legs(n)
    if initial == "s4_ptd":
        A = A + perturbed(n, Perturbation(), 0).perturbation
    # The impulse response C Āˡ B̄ of the real system, in the basis in which C was drawn.
    for channel, step in enumerate(layer.log_step.flatten().exp().tolist()):
        held = cont2discrete((A, B[:, None], np.zeros((1, n)), np.zeros((1, 1))), step, "zoh")
        generator = torch.Generator().manual_seed(1)
        torch.randn(3, generator=generator)
        C = (torch.randn(3, n, generator=generator, dtype=torch.float64) / n)[channel].numpy()
        response = [C @ np.linalg.matrix_power(held[0], power) @ held[1][:, 0] for power in range(30)]
        kernel = layer.kernel(30)[channel].detach().numpy()
        assert np.abs(kernel - response).max() < 1e-5 * np.abs(response).max()


@pytest.mark.parametrize("matrix", [normal_part(12), perturbed(12, Perturbation(), 0)])
def test_one_of_each_pair_stands_for_the_real_matrix(matrix: Diagonalised) -> None:
    slots = Slots.of(matrix)
    whole = matrix.vectors @ np.diag(matrix.eigenvalues) @ np.linalg.inv(matrix.vectors)
    halves = (slots.vectors * (slots.weight * slots.eigenvalues)) @ slots.covectors
    assert np.abs(halves.real - whole).max() < 1e-9 * np.abs(whole).max()
    assert int(slots.weight.sum()) == 12
    assert len(slots.weight) < 12


@pytest.mark.parametrize("initial", KINDS)
def test_the_hidden_state_shrinks_whatever_the_parameters_are(initial: str) -> None:
    layer = layer_of(initial)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(4)))
        layer.log_step.fill_(-1.0)
    x = torch.ones(1, *layer.state_shape, dtype=torch.complex64)
    for _ in range(400):
        x, _ = layer.step(x, torch.zeros(1, 3))
    assert float(x.detach().abs().max()) < 1e-3


def test_gradients_reach_all_parameters() -> None:
    for initial in KINDS:
        layer = layer_of(initial)
        layer(inputs(20)).square().sum().backward()
        for name, parameter in layer.named_parameters():
            assert parameter.grad is not None, name
            assert bool(parameter.grad.isfinite().all()), name
            assert float(parameter.grad.abs().max()) > 0, name
