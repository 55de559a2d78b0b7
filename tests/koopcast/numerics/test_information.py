"""Information of latent trajectories: hand values, sampling, limits."""

import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from koopcast.numerics.information import (
    covariance,
    gaussian_information,
    info_nce,
    von_neumann_entropy,
)


def matrix(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def test_the_entropy_counts_directions_of_equal_variance() -> None:
    for count in (1, 3, 5):
        C = torch.diag(torch.tensor([2.0] * count + [0.0] * (5 - count), dtype=torch.float64))
        assert float(von_neumann_entropy(C).exp()) == pytest.approx(count, rel=1e-4)


def test_the_entropy_of_two_shares_by_hand() -> None:
    # Shares 3/4 and 1/4: S = ln 4 - 3/4 ln 3, whatever the units and the axes.
    turn = matrix([0.6, 0.8], [-0.8, 0.6])
    C = 7 * turn @ torch.diag(torch.tensor([3.0, 1.0]).double()) @ turn.T
    assert float(von_neumann_entropy(C)) == pytest.approx(math.log(4) - 0.75 * math.log(3), abs=1e-5)


def test_the_entropy_has_a_gradient_where_eigenvalues_repeat_and_it_points_to_the_mean_share() -> None:
    equal = torch.eye(4, dtype=torch.float64).requires_grad_()
    von_neumann_entropy(equal).backward()
    assert equal.grad is not None
    assert float(equal.grad.abs().max()) < 1e-12
    skewed = torch.diag(torch.tensor([1.0, 0.1], dtype=torch.float64)).requires_grad_()
    von_neumann_entropy(skewed).backward()
    assert skewed.grad is not None
    assert skewed.grad[0, 0] < 0 < skewed.grad[1, 1]


def test_the_contrastive_loss_of_four_times_by_hand() -> None:
    # Cosines of anchor 1 with 0, 2, 3: 1, 0, 0; of anchor 2 with 0, 1, 3: 0, 0, 1. Neighbours k = 1, τ = 1.
    Z = torch.tensor([[[2.0, 0.0], [1.0, 0.0], [0.0, 3.0], [0.0, 1.0]]])
    assert float(info_nce(Z, 1, 1.0)) == pytest.approx(math.log((math.e + 2) / (math.e + 1)))
    # Cosines count twice as much at half the temperature.
    assert float(info_nce(Z, 1, 0.5)) == pytest.approx(math.log((math.e**2 + 2) / (math.e**2 + 1)))


def test_latents_that_do_not_differ_in_time_say_nothing() -> None:
    Z = torch.ones(2, 12, 3)
    # Four neighbours among eleven other times: what chance gives.
    assert float(info_nce(Z, 2, 0.07)) == pytest.approx(math.log(11 / 4), rel=1e-6)


def test_gaussian_information_of_one_number_by_hand() -> None:
    # ½ ln(1 + a²c / s²), and over two steps ½ ln(1 + a⁴c / (s² (1 + a²))).
    c, a, s2 = matrix([2.0]), matrix([0.5]), matrix([0.25])
    assert float(gaussian_information(c, a, s2)) == pytest.approx(0.5 * math.log(3))
    two = 0.5 * math.log(1 + 2 / 16 / (0.25 * 1.25))
    assert float(gaussian_information(c, a, s2, 2)) == pytest.approx(two)


def test_gaussian_information_is_the_formula_with_roots_and_that_of_samples() -> None:
    draws = np.random.default_rng(0)
    K, root = np.array([[0.7, 0.4], [-0.3, 0.5]]), np.array([[0.6, 0.0], [0.2, 0.3]])
    noise, C = root @ root.T, np.array([[1.0, 0.3], [0.3, 0.5]])
    value = float(gaussian_information(*(torch.from_numpy(part) for part in (C, K, noise)), 2))
    M, KT = noise + K.T @ noise @ K, K.T @ K.T
    half = np.linalg.inv(np.real(sqrtm(M)))
    inner = np.eye(2) + half @ KT @ C @ KT.T @ half
    assert value == pytest.approx(0.5 * np.log(np.linalg.det(inner)), rel=1e-12)
    z = [draws.standard_normal((400_000, 2)) @ np.linalg.cholesky(C).T]
    for _ in range(2):
        z.append(z[-1] @ K + draws.standard_normal(z[-1].shape) @ root.T)
    joint = np.cov(np.hstack([z[0], z[2]]).T)
    parts = np.linalg.det(joint[:2, :2]) * np.linalg.det(joint[2:, 2:])
    assert value == pytest.approx(0.5 * np.log(parts / np.linalg.det(joint)), rel=0.02)


def test_the_covariance_is_centred() -> None:
    Z = torch.tensor([[1.0, 10.0], [3.0, 10.0], [5.0, 10.0]], dtype=torch.float64)
    assert covariance(Z).tolist() == [[4.0, 0.0], [0.0, 0.0]]
