import numpy as np
import pytest
import scipy.sparse as sparse
from pydantic import ValidationError

from koopcast.errors import InvalidInput
from koopcast.linear import LinearProblem, Profile, Status
from koopcast.solvers.base import solve_all
from koopcast.solvers.learners.chebcb import ChebCBSpec
from koopcast.solvers.learners.tsallis_inf import TsallisINFSpec
from koopcast.solvers.relaxed import Splitting
from koopcast.solvers.sor import SORSpec

RNG = np.random.default_rng


def poisson(points: int, axes: int = 1, shift: float = 0.0) -> sparse.csr_array:
    """Return second differences over `points` interior points along each axis, plus a shift."""
    line = sparse.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(points, points))
    eye = sparse.eye_array(points)
    matrix = line if axes == 1 else sparse.kron(line, eye) + sparse.kron(eye, line)
    return sparse.csr_array(matrix + shift * sparse.eye_array(points**axes))


def jacobi_radius(A: sparse.csr_array) -> float:
    """Return the spectral radius β of I - D⁻¹ A."""
    scale = 1.0 / np.sqrt(A.diagonal())
    return float(np.abs(1.0 - np.linalg.eigvalsh(scale[:, None] * A.toarray() * scale)).max())


def optimal(A: sparse.csr_array) -> float:
    """Return Young's ω* of a consistently ordered matrix."""
    beta = jacobi_radius(A)
    return 1.0 + (beta / (1.0 + np.sqrt(1.0 - beta**2))) ** 2


def sweep_radius(A: sparse.csr_array, omega: float) -> float:
    """Return the spectral radius of the error over one sweep, from sweeps over all unit vectors."""
    splitting = Splitting(A, omega)
    columns = [splitting.solve(column, "forward") for column in A.toarray().T]
    return float(np.abs(np.linalg.eigvals(np.eye(len(columns)) - np.stack(columns, axis=1))).max())


def profile(A: sparse.csr_array) -> Profile:
    return Profile((A.shape[0],), is_symmetric=True)


def test_gauss_seidel_contracts_by_cos_squared_of_pi_h() -> None:
    points = 31
    A = poisson(points)
    spec = SORSpec(omega=1.0, tolerance=1e-15, max_iterations=200)
    b = RNG(0).standard_normal(points)
    early, _, _ = spec.iterate(A, b, 1.0)
    late, _, _ = spec.model_copy(update={"max_iterations": 400}).iterate(A, b, 1.0)
    x = np.linalg.solve(A.toarray(), b)
    rate = (np.linalg.norm(late - x) / np.linalg.norm(early - x)) ** (1 / 200)
    assert rate == pytest.approx(np.cos(np.pi / (points + 1)) ** 2, rel=1e-3)


@pytest.mark.parametrize(("axes", "shift"), [(1, 0.0), (2, 0.0), (2, 0.3)])
def test_at_young_s_omega_the_error_shrinks_by_omega_minus_one(axes: int, shift: float) -> None:
    # The matrix of the iteration has a Jordan block of size 2 there: its computed eigenvalues are off by the
    # square root of rounding.
    A = poisson(8, axes, shift)
    best = optimal(A)
    assert sweep_radius(A, best) == pytest.approx(best - 1.0, abs=1e-6)
    assert sweep_radius(A, best - 0.05) > best - 1.0 + 0.02
    assert sweep_radius(A, best + 0.05) == pytest.approx(best + 0.05 - 1.0, abs=1e-9)


def test_a_sweep_is_the_one_of_the_textbook() -> None:
    # A = [[2, -1], [-1, 2]], ω = 3/2, x = 0, b = (4, 2): x₁ = 3/2 · 4/2 = 3, x₂ = 3/2 (2 + 3)/2 = 3.75.
    spec = SORSpec(max_iterations=1)
    x, iterations, status = spec.iterate(poisson(2), np.array([4.0, 2.0]), 1.5)
    assert x.tolist() == [3.0, 3.75]
    assert (iterations, status) == (1, Status.OUT_OF_BUDGET)


@pytest.mark.parametrize("omega", [0.02, 0.5, 1.0, 1.5, 1.9, 1.98])
def test_every_omega_between_zero_and_two_converges_on_a_definite_matrix(omega: float) -> None:
    B = RNG(1).standard_normal((12, 12))
    A = sparse.csr_array(B @ B.T + 3 * np.eye(12))
    solver = SORSpec(omega=omega).build(profile(A), RNG(0))
    b = RNG(2).standard_normal(12)
    solution = solver.solve(LinearProblem(A, b))
    assert solution.status is Status.CONVERGED
    assert np.linalg.norm(b - A @ solution.value) < 1e-8 * np.linalg.norm(b)
    assert solution.residual == pytest.approx(np.linalg.norm(b - A @ solution.value) / np.linalg.norm(b))
    assert solution.figures == {"omega": omega, "cost": float(solution.iterations)}


def test_iterations_stop_at_the_first_residual_below_the_tolerance() -> None:
    A, b = poisson(10, axes=2), RNG(3).standard_normal(100)
    M = sparse.csr_array(sparse.tril(A)).toarray() + np.diag(A.diagonal() * (1 / 1.5 - 1))
    x, count = np.zeros(100), 0
    while np.linalg.norm(b - A @ x) >= 1e-8 * np.linalg.norm(b):
        x, count = x + np.linalg.solve(M, b - A @ x), count + 1
    solution = SORSpec(omega=1.5).build(profile(A), RNG(0)).solve(LinearProblem(A, b))
    assert solution.iterations == count
    assert solution.value == pytest.approx(x, abs=1e-12)


def test_what_takes_too_long_costs_the_cap_and_says_so() -> None:
    A = poisson(40)
    solver = SORSpec(omega=1.0, max_iterations=20).build(profile(A), RNG(0))
    solution = solver.solve(LinearProblem(A, np.ones(40)))
    assert solution.status is Status.OUT_OF_BUDGET
    assert (solution.iterations, solution.figures["cost"]) == (20, 20.0)
    assert solution.residual > 1e-2


def test_a_matrix_on_which_sweeps_grow_breaks_down_without_a_raise() -> None:
    A = sparse.csr_array(np.array([[1.0, 30.0], [30.0, 1.0]]))
    solution = SORSpec().build(profile(A), RNG(0)).solve(LinearProblem(A, np.ones(2)))
    assert solution.status is Status.BROKE_DOWN
    assert solution.figures["cost"] == 10_000


def test_no_right_hand_side_is_no_lesson() -> None:
    solver = SORSpec(omega=TsallisINFSpec()).build(profile(poisson(4)), RNG(0))
    solution = solver.solve(LinearProblem(poisson(4), np.zeros(4)))
    assert (solution.status, solution.iterations, solution.residual) == (Status.CONVERGED, 0, 0.0)
    assert solver.state()["rounds"] == 0


@pytest.mark.parametrize(
    ("symmetric", "definite", "word"), [(False, True, "not sym"), (True, False, "indef")]
)
def test_matrices_without_a_theorem_are_refused(symmetric: bool, definite: bool, word: str) -> None:
    refusal = SORSpec().refusal(Profile((4,), is_symmetric=symmetric, is_definite=definite))
    assert refusal is not None
    assert word in refusal
    assert SORSpec().refusal(Profile((4,), is_symmetric=True)) is None


@pytest.mark.parametrize(
    "given", [2.0, 0, "1.5", {"kind": "chebcb"}, {"kind": "tsallis_inf", "grid": {"high": 2}}]
)
def test_an_omega_that_cannot_be_is_refused(given: object) -> None:
    with pytest.raises(ValidationError, match="omega"):
        SORSpec.model_validate({"kind": "sor", "omega": given})


def test_omega_is_written_as_a_number_or_as_a_learner() -> None:
    assert SORSpec.model_validate({"omega": 1.7}) == SORSpec.model_validate(
        {"omega": {"kind": "fixed", "omega": 1.7}}
    )
    spec = SORSpec.model_validate({"omega": {"kind": "tsallis_inf", "grid": {"count": 5}}})
    assert isinstance(spec.omega, TsallisINFSpec)
    assert SORSpec.model_validate(spec.model_dump(mode="json")) == spec


def test_a_context_beyond_the_range_stops_the_sequence() -> None:
    spec = SORSpec(omega=ChebCBSpec(context="shift", context_range=(0.0, 1.0)))
    problems = [LinearProblem(poisson(6, shift=s), np.ones(6), context={"shift": s}) for s in (0.5, 1.5)]
    with pytest.raises(InvalidInput, match=r"shift = 1\.5"):
        list(solve_all(spec, profile(problems[0].matrix), problems, RNG(0)))


def test_a_sequence_taught_in_two_parts_has_learned_all_of_it() -> None:
    spec = SORSpec(omega=TsallisINFSpec())
    problems = [LinearProblem(poisson(6, shift=s), np.ones(6)) for s in np.linspace(0, 1, 20)]
    first = spec.build(profile(problems[0].matrix), RNG(0))
    costs = [first.solve(problem).figures["cost"] for problem in problems[:12]]
    second = spec.build(profile(problems[0].matrix), RNG(1))
    second.restore(first.state())
    costs += [second.solve(problem).figures["cost"] for problem in problems[12:]]
    assert second.state()["rounds"] == 20
    assert second.state()["total"] == pytest.approx(sum(costs) - 20)
