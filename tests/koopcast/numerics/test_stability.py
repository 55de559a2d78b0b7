import numpy as np
import torch

from koopcast.numerics.stability import stabilised


def test_eigenvalues_outside_the_circle_keep_their_angle_and_the_others_stay() -> None:
    rng = np.random.default_rng(0)
    for size in (1, 2, 5, 8):
        K = torch.from_numpy(1.5 * rng.normal(size=(size, size)) / size**0.5)
        before, after = (np.linalg.eigvals(A.numpy()) for A in (K, stabilised(K)))
        expected = before / np.maximum(1, np.abs(before))
        # Defined up to order: each expected value is met, and none is left.
        apart = np.abs(after[:, None] - expected)
        # Two that meet at 1 may be one defective eigenvalue, which rounding moves by its root.
        assert apart.min(axis=0).max() < 1e-7
        assert apart.min(axis=1).max() < 1e-7


def test_a_stable_map_is_left_as_it_is() -> None:
    K = torch.tensor([[0.5, 3.0], [-0.1, 0.4]], dtype=torch.float64)
    assert torch.allclose(stabilised(K), K, atol=1e-14)
