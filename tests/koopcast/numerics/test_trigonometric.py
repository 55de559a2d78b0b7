import math

import pytest
import scipy.fft
import torch

from koopcast.numerics.trigonometric import CosineTransform, sine_transform


def numbers(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [1, 2, 3, 8, 9, 64])
def test_the_cosine_transform_is_the_orthonormal_one_and_inverts(size):
    x, transform = numbers(3, 2, size), CosineTransform(size)
    X = transform.forward(x)
    assert torch.allclose(X, torch.from_numpy(scipy.fft.dct(x.numpy(), type=2, norm="ortho")), atol=1e-13)
    assert torch.allclose(transform.inverse(X), x, atol=1e-13)


def test_a_cosine_has_one_coefficient():
    # x_j = cos(3π(j + 1/2)/n) has the norm √(n/2).
    n = 10
    x = torch.cos(3 * math.pi * (torch.arange(n, dtype=torch.float64) + 0.5) / n)
    X = CosineTransform(n).forward(x)
    assert X[3].item() == pytest.approx(math.sqrt(n / 2))
    assert X[torch.arange(n) != 3].abs().max() < 1e-14


@pytest.mark.parametrize("size", [1, 2, 7, 8, 127])
def test_the_sine_transform_is_orthonormal_and_its_own_inverse(size):
    x = numbers(4, size)
    X = sine_transform(x)
    assert torch.allclose(X, torch.from_numpy(scipy.fft.dst(x.numpy(), type=1, norm="ortho")), atol=1e-12)
    assert torch.allclose(sine_transform(X), x, atol=1e-12)
    assert torch.allclose(X.square().sum(1), x.square().sum(1))


def test_transforms_keep_single_precision():
    x = numbers(5, 16).float()
    transform = CosineTransform(16, dtype=torch.float32)
    assert (
        transform.forward(x).dtype == transform.inverse(x).dtype == sine_transform(x).dtype == torch.float32
    )
    assert torch.allclose(transform.inverse(transform.forward(x)), x, atol=1e-6)
