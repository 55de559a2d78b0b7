import math

import numpy as np
import pytest
import scipy.fft
import torch

from koopcast.grids import Axis
from koopcast.random_fields.cosine_gaussian import CosineGaussianSpec, shell_normals


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def axes(*sizes, length=1.0):
    return tuple(
        Axis(name, size, length=length) for name, size in zip("yx"[-len(sizes) :], sizes, strict=True)
    )


def test_one_seed_gives_one_function_on_cells_of_64_and_of_128():
    field = CosineGaussianSpec(grid="cells")
    coarse, fine = (
        scipy.fft.dctn(field.draw(axes(n, n), 2, generator()).numpy(), axes=(1, 2), norm="ortho") / n
        for n in (64, 128)
    )
    assert abs(coarse - fine[:, :64, :64]).max() < 1e-12


def test_one_seed_gives_one_function_on_nodes_of_64_and_of_128_and_of_an_oblong_grid():
    field = CosineGaussianSpec()
    square, fine, oblong = (
        scipy.fft.idctn(field.draw(axes(*sizes), 2, generator()).numpy(), type=1, axes=(1, 2))
        for sizes in ((64, 64), (128, 128), (64, 40))
    )
    # The highest mode of a grid counts once in the transform and twice on a finer grid.
    assert abs(square[:, :63, :63] - fine[:, :63, :63]).max() < 1e-12
    assert abs(square[:, :63, :39] - fine[:, :63, :39]).max() < 1e-12
    wide = scipy.fft.idctn(field.draw(axes(64, 64), 2, generator()).numpy(), type=1, axes=(1, 2))
    assert abs(wide[:, :63, :39] - oblong[:, :63, :39]).max() < 1e-12


@pytest.mark.parametrize("sizes", [(17,), (9, 9)])
def test_a_smooth_field_has_the_same_values_at_shared_nodes(sizes):
    field = CosineGaussianSpec(alpha=12)
    fine = field.draw(axes(*(2 * n - 1 for n in sizes)), 3, generator())
    shared = fine[(slice(None), *[slice(None, None, 2)] * len(sizes))]
    assert torch.allclose(field.draw(axes(*sizes), 3, generator()), shared, atol=1e-5 * float(fine.std()))


def test_cells_reproduce_the_formula_of_the_fno_repository():
    alpha, tau, s = 2.5, 4.0, 7
    xi = shell_normals((s, s), 1, generator())[0].numpy()
    i, j = np.meshgrid(np.arange(s), np.arange(s), indexing="ij")
    L = s * tau ** (alpha - 1) * (math.pi**2 * (i**2 + j**2) + tau**2) ** (-alpha / 2) * xi
    L[0, 0] = 0
    expected = scipy.fft.idct(scipy.fft.idct(L, norm="ortho").T, norm="ortho").T
    field = CosineGaussianSpec(alpha=alpha, tau=tau, grid="cells")
    assert np.allclose(field.draw(axes(s, s), 1, generator())[0], expected, atol=1e-14)


def test_nodes_hold_the_sum_of_cosines_term_by_term():
    n, length = 5, 2.0
    field = CosineGaussianSpec(alpha=1.5, tau=2.0)
    xi = shell_normals((n,), 1, generator())[0].numpy()
    x = np.linspace(0, length, n)
    expected = sum(
        2.0 ** (1.5 - 0.5) * ((math.pi * m / length) ** 2 + 4) ** -0.75
        * xi[m] * math.sqrt(2 / length) * np.cos(math.pi * m * x / length)
        for m in range(1, n)
    )  # fmt: skip
    assert np.allclose(field.draw(axes(n, length=length), 1, generator())[0], expected, atol=1e-14)


def test_shells_of_equal_largest_index_are_drawn_one_after_another():
    numbers = torch.cat(
        [torch.randn(k, 1, generator=g, dtype=torch.float64) for g in [generator(3)] for k in (1, 3)]
    )
    xi = shell_normals((2, 2), 1, generator(3))[0]
    assert torch.equal(xi.flatten(), numbers[:, 0])


def test_the_variance_at_a_point_is_the_sum_over_modes_and_the_mean_over_cells_is_zero():
    n, count = 8, 4000
    field = CosineGaussianSpec(grid="cells")
    u = field.draw(axes(n, n), count, generator()).numpy()
    c = field.deviations((n, n), (1.0, 1.0))
    e = np.sqrt(np.where(np.arange(n) == 0, 1, 2))[:, None] * np.cos(
        np.pi * np.arange(n)[:, None] * (np.arange(n) + 0.5) / n
    )
    exact = np.einsum("ij,iy,jx->yx", c**2, e**2, e**2)
    # The standard error of a variance estimate of normal numbers is √(2/count) of it.
    assert abs(u.var(axis=0) / exact - 1).max() < 5 * math.sqrt(2 / count)
    assert abs(u.mean(axis=(1, 2))).max() < 1e-14


@pytest.mark.parametrize(("alpha", "sizes"), [(0.5, (8,)), (1.0, (8, 8))])
def test_a_field_too_rough_for_its_dimension_is_refused(alpha, sizes):
    assert "raise alpha" in CosineGaussianSpec(alpha=alpha).fault(axes(*sizes))
    assert CosineGaussianSpec(alpha=alpha + 0.01).fault(axes(*sizes)) is None


def test_periodic_axes_are_refused():
    assert CosineGaussianSpec().fault((Axis("x", 8, periodic=True, length=1.0),)) is not None
