import itertools

import numpy as np
import pytest
import scipy.sparse as sparse
import scipy.sparse.linalg

from koopcast.numerics.finite_volumes import (
    add_reaction,
    assemble,
    convection,
    diffusion,
    held_load,
    laplacian_box,
    second_difference,
)


def solve(stencil, rhs):
    return scipy.sparse.linalg.spsolve(assemble(stencil).tocsc(), rhs)


@pytest.mark.parametrize("grid", [(7,), (4, 6), (3, 4, 2)])
def test_sines_are_eigenvectors_of_the_assembled_laplacian_with_the_eigenvalues_of_the_box(grid):
    spacings = [0.3, 0.2, 0.5][: len(grid)]
    matrix = assemble(diffusion(np.ones([n + 2 for n in grid]), spacings))
    eigenvalues = laplacian_box(["dirichlet"] * len(grid), grid, spacings).eigenvalues
    for mode in itertools.product(*map(range, grid)):
        sine = np.ones(1)
        for n, k in zip(grid, mode, strict=True):
            sine = np.multiply.outer(sine, np.sin(np.pi * (k + 1) * np.arange(1, n + 1) / (n + 1)))
        assert np.allclose(matrix @ sine.ravel(), eigenvalues[mode] * sine.ravel(), atol=1e-11)


def test_cosines_on_cells_and_exponentials_are_eigenvectors_of_their_second_differences():
    n, h = 6, 0.4
    line = 2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)
    neumann, periodic = line.copy(), line.copy()
    neumann[0, 0] = neumann[-1, -1] = 1
    periodic[0, -1] = periodic[-1, 0] = -1
    i, k = np.arange(n)[:, None], np.arange(n)
    for matrix, transform, modes in (
        (neumann, "neumann", np.cos(np.pi * k * (i + 0.5) / n)),
        (periodic, "periodic", np.exp(2j * np.pi * k * i / n)),
    ):
        assert np.allclose(matrix / h**2 @ modes, modes * second_difference(transform, n, h), atol=1e-13)


def test_a_box_adds_its_axes_and_has_scale_and_shift():
    box = laplacian_box(("neumann", "periodic"), (3, 4), (0.5, 0.25), scale=2.0, shift=-3.0)
    # 4/h² sin²: Neumann mode 1 of 3 cells, 16 sin²(π/6) = 4; periodic mode 2 of 4 nodes, 64 sin²(π/2) = 64.
    assert box.eigenvalues[1, 2] == pytest.approx(2 * (4 + 64) - 3)
    assert box.eigenvalues[0, 0] == -3
    assert box.transforms == ("neumann", "periodic")


@pytest.mark.parametrize("averaging", ["harmonic", "arithmetic"])
def test_a_row_is_the_balance_of_the_fluxes_through_the_faces_of_its_cell(averaging):
    rng = np.random.default_rng(0)
    a, u, (hy, hx) = rng.uniform(1, 5, (5, 6)), np.zeros((5, 6)), (0.5, 0.2)
    u[1:-1, 1:-1] = rng.standard_normal((3, 4))
    mean = (lambda p, q: 2 * p * q / (p + q)) if averaging == "harmonic" else (lambda p, q: (p + q) / 2)
    expected = [
        sum(
            mean(a[j, i], a[j + dj, i + di]) * (u[j, i] - u[j + dj, i + di]) / (hy if dj else hx) ** 2
            for dj, di in ((1, 0), (-1, 0), (0, 1), (0, -1))
        )
        for j in range(1, 4)
        for i in range(1, 5)
    ]
    matrix = assemble(diffusion(a, (hy, hx), averaging))
    assert np.allclose(matrix @ u[1:-1, 1:-1].ravel(), expected, atol=1e-12)


def test_the_matrix_of_any_coefficient_is_symmetric_and_positive_definite():
    a = np.exp(2 * np.random.default_rng(1).standard_normal((9, 8)))
    matrix = assemble(diffusion(a, (0.1, 0.2))).toarray()
    assert (matrix == matrix.T).all()
    assert np.linalg.eigvalsh(matrix).min() > 0


def test_what_sources_give_leaves_through_the_boundary():
    rng = np.random.default_rng(2)
    a, f, h = np.exp(rng.standard_normal((10, 12))), rng.standard_normal((8, 10)), (0.1, 0.05)
    u = np.pad(solve(diffusion(a, h), f.ravel()).reshape(f.shape), 1)
    flux = 0.0
    for axis in (0, 1):
        p, v = (np.moveaxis(field, axis, 0)[:, 1:-1] for field in (a, u))
        length = h[1 - axis] / h[axis]
        for edge, inside in ((0, 1), (-1, -2)):
            flux += length * (2 * p[edge] * p[inside] / (p[edge] + p[inside]) * (v[inside] - v[edge])).sum()
    assert flux == pytest.approx(f.sum() * h[0] * h[1], rel=1e-10)


def test_harmonic_means_are_exact_where_layers_change_half_way_between_nodes():
    # Layers 1 and 4 of thickness 1/2 between values 0 and 1: the flux is 1/(1/2 + 1/8) = 8/5, so that
    # u(1/3) = 8/15 and u(2/3) = 1 - (8/5)/4/3 = 13/15.
    a, held = np.array([1.0, 1.0, 4.0, 4.0]), np.array([0.0, 0.0, 0.0, 1.0])
    stencil = diffusion(a, [1 / 3])
    assert solve(stencil, held_load(stencil, held)) == pytest.approx([8 / 15, 13 / 15], abs=1e-15)
    arithmetic = diffusion(a, [1 / 3], "arithmetic")
    # Resistances 1, 2/5, 1/4 in series: u = (1, 7/5) / (33/20).
    assert solve(arithmetic, held_load(arithmetic, held)) == pytest.approx([20 / 33, 28 / 33], abs=1e-15)


def test_values_held_at_the_ends_enter_the_right_hand_side():
    # Second differences of x² - y² + 3x + 1 are exact, and its Laplacian is 0.
    y, x = np.meshgrid(np.linspace(0, 1, 7), np.linspace(0, 2, 9), indexing="ij")
    u = x**2 - y**2 + 3 * x + 1
    stencil = diffusion(np.ones((7, 9)), (1 / 6, 1 / 4))
    assert np.allclose(solve(stencil, held_load(stencil, u)), u[1:-1, 1:-1].ravel(), atol=1e-13)


@pytest.mark.parametrize("scheme", ["central", "upwind"])
def test_the_discrete_boundary_layer_is_the_geometric_series_of_its_scheme(scheme):
    # -ν u'' + b u' = 0, u(0) = 0, u(1) = 1: u_i = (rⁱ - 1)/(rⁿ - 1) with r = (1 + P)/(1 - P) for central and
    # 1 + 2P for upwind differences, P = b h/(2ν).
    n, nu, b = 10, 0.1, 1.3
    h = 1 / n
    P = b * h / (2 * nu)
    r = (1 + P) / (1 - P) if scheme == "central" else 1 + 2 * P
    stencil = nu * diffusion(np.ones(n + 1), [h]) + convection([b], (n - 1,), [h], scheme)
    held = np.zeros(n + 1)
    held[-1] = 1
    expected = (r ** np.arange(1, n) - 1) / (r**n - 1)
    assert solve(stencil, held_load(stencil, held)) == pytest.approx(expected, rel=1e-12)


def test_upwind_matrices_have_no_positive_entry_off_the_diagonal_whatever_the_wind():
    for wind in itertools.product((-50.0, 0.0, 50.0), repeat=2):
        stencil = diffusion(np.ones((6, 6)), (0.2, 0.2)) + convection(wind, (4, 4), (0.2, 0.2), "upwind")
        matrix = assemble(stencil).toarray()
        assert (matrix - np.diag(np.diag(matrix))).max() <= 0
        assert matrix.sum(axis=1).min() >= -1e-12


def test_central_convection_is_skew_symmetric():
    matrix = assemble(convection((2.0, -3.0), (4, 5), (0.1, 0.3))).toarray()
    assert abs(matrix + matrix.T).max() < 1e-14


def test_a_reaction_adds_to_the_diagonal_alone():
    c = np.arange(12.0).reshape(3, 4)
    stencil = diffusion(np.ones((5, 6)), (1.0, 1.0))
    difference = assemble(add_reaction(stencil, c)) - assemble(stencil)
    assert abs(difference - sparse.diags_array(c.ravel())).max() == 0
