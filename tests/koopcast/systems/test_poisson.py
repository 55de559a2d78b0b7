import numpy as np
import pytest
import scipy.fft
import scipy.sparse as sparse
import scipy.sparse.linalg
import torch
from pydantic import ValidationError

from koopcast.errors import InvalidInput
from koopcast.systems.poisson import PoissonSpec


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def sine_solve(box, rhs):
    grid = box.eigenvalues.shape
    spectrum = scipy.fft.dstn(rhs.reshape(grid), type=1, norm="ortho") / box.eigenvalues
    return scipy.fft.dstn(spectrum, type=1, norm="ortho").ravel()


@pytest.mark.parametrize("parameters", [{}, {"reaction": 40.0}])
def test_sine_transforms_solve_poisson_to_round_off(parameters):
    system = PoissonSpec()
    problem = system.problem(system.draw(generator(), parameters), parameters)
    x = sine_solve(problem.box or system.profile().box, problem.rhs)
    residual = problem.rhs - problem.matrix @ x
    assert np.linalg.norm(residual) / np.linalg.norm(problem.rhs) <= 1e-11


def test_a_harmonic_polynomial_comes_back_exactly_from_its_boundary_values():
    system = PoissonSpec(points=17)
    y, x = np.meshgrid(np.linspace(0, 1, 17), np.linspace(0, 1, 17), indexing="ij")
    u = x**2 - y**2 + x * y
    boundary = u.copy()
    boundary[1:-1, 1:-1] = 0
    given = {"source": np.zeros((17, 17)), "boundary": boundary}
    found = sine_solve(system.profile().box, system.problem(given, {}).rhs)
    assert np.allclose(system.solution(given, found)["u"], u, atol=1e-13)


def test_four_independent_edges_meet_in_their_mean_at_corners():
    system = PoissonSpec(points=9)
    boundary = system.draw(generator(), {})["boundary"]
    stream = generator()
    system.source.draw(system.describe().axes, 1, stream)
    south, north, west, east = system.boundary.draw(system.describe().axes[:1], 4, stream).numpy()
    assert np.allclose(boundary[0, 1:-1], south[1:-1])
    assert np.allclose(boundary[-1, 1:-1], north[1:-1])
    assert np.allclose(boundary[1:-1, 0], west[1:-1])
    assert np.allclose(boundary[1:-1, -1], east[1:-1])
    assert boundary[0, 0] == pytest.approx((south[0] + west[0]) / 2)
    assert boundary[-1, -1] == pytest.approx((north[-1] + east[-1]) / 2)
    assert (boundary[1:-1, 1:-1] == 0).all()


def test_a_shifted_laplacian_of_ten_by_ten_unknowns_is_that_of_learning_to_relax():
    options = {"points": 12, "source": {"kind": "white", "bound": 1, "ends": "zero"}, "boundary": None}
    system = PoissonSpec.model_validate(options)
    shift = -0.15
    parameters = {"reaction": shift * 11**2}
    given = system.draw(generator(), parameters)
    problem = system.problem(given, parameters)
    line = sparse.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(10, 10))
    expected = sparse.kronsum(line, line) + shift * sparse.eye_array(100)
    assert abs(problem.matrix / 11**2 - expected).max() < 1e-13
    assert problem.context == parameters
    assert np.linalg.norm(problem.rhs) <= 10
    assert list(given) == ["source"]


def test_a_reaction_that_makes_the_equation_indefinite_is_refused():
    # The lowest eigenvalue of ten by ten second differences is 8 · 121 sin²(π/22) = 19.6.
    assert PoissonSpec(points=12, reaction=-19.6).reaction == -19.6
    with pytest.raises(ValidationError, match="helmholtz"):
        PoissonSpec(points=12, reaction=-19.7)
    system = PoissonSpec(points=12)
    with pytest.raises(InvalidInput, match="helmholtz"):
        system.problem(system.draw(generator(), {}), {"reaction": -19.7})


def test_source_and_boundary_converge_to_the_same_solution_on_finer_grids():
    u = []
    for points in (17, 33, 65):
        system = PoissonSpec(points=points)
        given = system.draw(generator(), {})
        x = sine_solve(system.profile().box, system.problem(given, {}).rhs)
        u.append(system.solution(given, x)["u"][:: (points - 1) // 16, :: (points - 1) // 16][4:-4, 4:-4])
    # Away from the jumps at corners the error falls as h².
    assert abs(u[0] - u[1]).max() / abs(u[1] - u[2]).max() == pytest.approx(4, abs=0.5)


def test_the_matrix_of_a_sequence_is_assembled_once_and_solved_by_any_method_alike():
    system = PoissonSpec(points=9)
    problem = system.problem(system.draw(generator(), {}), {})
    direct = scipy.sparse.linalg.spsolve(problem.matrix.tocsc(), problem.rhs)
    assert np.allclose(direct, sine_solve(system.profile().box, problem.rhs), rtol=1e-11)
