"""What every solver promises, whatever its method."""

import numpy as np
import pytest
import scipy.sparse as sparse

from koopcast.linear import LinearProblem, Profile, Status
from koopcast.solvers.amg import AMGSpec
from koopcast.solvers.auto import AutoSpec
from koopcast.solvers.base import solve_all
from koopcast.solvers.cg import CGSpec
from koopcast.solvers.direct import DirectSpec
from koopcast.solvers.gcro_dr import GCRODRSpec
from koopcast.solvers.gmres import GMRESSpec
from koopcast.solvers.minres import MINRESSpec
from koopcast.solvers.preconditioners import AMGSpec as MultigridSpec
from koopcast.solvers.preconditioners import ICSpec, ILUSpec, JacobiSpec, SSORSpec
from koopcast.solvers.skr import SKRSpec

GENERAL = [
    AutoSpec(),
    DirectSpec(),
    GCRODRSpec(m=20, k=8),
    GMRESSpec(),
    GMRESSpec(preconditioner=ILUSpec()),
    SKRSpec(m=20, k=8),
    SKRSpec(m=20, k=8, engine="gcrotmk"),
    SKRSpec(m=20, k=8, preconditioner=SSORSpec(omega=1.2), sort="none"),
]
DEFINITE = [
    AMGSpec(),
    AMGSpec(coarsening="smoothed_aggregation"),
    CGSpec(),
    CGSpec(preconditioner=ICSpec()),
    CGSpec(preconditioner=JacobiSpec()),
    CGSpec(preconditioner=MultigridSpec()),
    CGSpec(preconditioner=SSORSpec()),
    GMRESSpec(preconditioner=ICSpec()),
    MINRESSpec(),
]
GENERATOR = np.random.default_rng(0)


def named(spec):
    inner = getattr(spec, "preconditioner", None)
    words = [spec.kind, getattr(spec, "engine", ""), getattr(spec, "coarsening", "")]
    return "-".join([*filter(None, words), *([inner.kind] if inner else [])])


def systems(matrices):
    rng = np.random.default_rng(1)
    return [
        LinearProblem(A, rng.standard_normal(A.shape[0]), np.array([float(number)]))
        for number, A in enumerate(matrices)
    ]


def check(spec, profile, problems):
    places = []
    for place, solution in solve_all(spec, profile, problems, GENERATOR):
        A, b = problems[place].matrix, problems[place].rhs
        exact = sparse.linalg.spsolve(sparse.csc_array(A), b)
        residual = np.linalg.norm(b - A @ solution.value) / np.linalg.norm(b)
        assert solution.status is Status.CONVERGED
        assert np.linalg.norm(solution.value - exact) <= 1e-6 * np.linalg.norm(exact)
        assert solution.residual == pytest.approx(residual, rel=1e-6, abs=1e-18)
        assert residual <= 1e-8
        places.append(place)
    assert sorted(places) == list(range(len(problems)))


@pytest.mark.parametrize("spec", GENERAL + DEFINITE, ids=named)
def test_a_solver_agrees_with_sparse_lu_on_symmetric_matrices(spec, laplacian):
    A, rng = laplacian(12), np.random.default_rng(2)
    matrices = [A + sparse.diags_array(rng.random(144), format="csr") for _ in range(3)]
    assert spec.refusal(Profile((144,), is_symmetric=True)) is None
    check(spec, Profile((144,), is_symmetric=True), systems([sparse.csr_array(M) for M in matrices]))


@pytest.mark.parametrize("spec", GENERAL, ids=named)
def test_a_solver_agrees_with_sparse_lu_on_matrices_that_are_not_symmetric(spec, windy):
    profile = Profile((144,), is_symmetric=False)
    assert spec.refusal(profile) is None
    check(spec, profile, systems([windy(12, b, 0.4) for b in (0.3, 0.9, 0.5)]))


@pytest.mark.parametrize("spec", DEFINITE, ids=named)
def test_a_method_for_symmetric_matrices_refuses_others(spec):
    assert "not symmetric" in spec.refusal(Profile((144,), is_symmetric=False))
    indefinite = spec.refusal(Profile((144,), is_symmetric=True, is_definite=False))
    assert indefinite is None if isinstance(spec, MINRESSpec) else "indefinite" in indefinite


@pytest.mark.parametrize("spec", GENERAL + DEFINITE, ids=named)
def test_a_solver_returns_zero_for_a_right_hand_side_of_zero(spec, laplacian, solve):
    solution = solve(spec, laplacian(12), np.zeros(144))
    assert solution.status is Status.CONVERGED
    assert not solution.value.any()
    assert solution.residual == 0.0


@pytest.mark.parametrize("spec", GENERAL + DEFINITE, ids=named)
def test_a_solver_says_that_it_broke_down_on_numbers_that_are_not_finite(spec, laplacian, solve):
    b = np.ones(144)
    b[7] = np.nan
    assert solve(spec, laplacian(12), b).status is Status.BROKE_DOWN


@pytest.mark.parametrize(
    "spec",
    [CGSpec(), GCRODRSpec(), GMRESSpec(), MINRESSpec(), SKRSpec()],
    ids=named,
)
def test_numbers_that_overflow_on_the_way_end_a_solve_and_do_not_raise(spec, laplacian, solve):
    solution = solve(spec, sparse.csr_array(1e300 * laplacian(12)), np.linspace(1e10, 2e10, 144))
    assert np.isfinite(solution.value).all()
    assert (solution.status is Status.CONVERGED) == (solution.residual <= 1e-8)


@pytest.mark.parametrize("spec", GENERAL + DEFINITE, ids=named)
def test_a_matrix_of_zeros_ends_a_solve_and_does_not_raise(spec, solve):
    assert solve(spec, sparse.csr_array((6, 6)), np.ones(6)).status is Status.BROKE_DOWN


@pytest.mark.parametrize("size", [1e-200, 1e200])
@pytest.mark.parametrize("spec", GENERAL + DEFINITE, ids=named)
def test_the_size_of_the_right_hand_side_does_not_matter(spec, laplacian, solve, size):
    b = np.linspace(1, 2, 144)
    small, plain = solve(spec, laplacian(12), size * b), solve(spec, laplacian(12), b)
    assert small.status is Status.CONVERGED
    assert np.allclose(small.value / size, plain.value, rtol=1e-7)


@pytest.mark.parametrize(
    "spec",
    [
        CGSpec(max_iterations=7),
        GCRODRSpec(m=5, k=2, max_iterations=7),
        GMRESSpec(m=4, max_iterations=7),
        MINRESSpec(max_iterations=7),
        SKRSpec(m=5, k=2, max_iterations=7),
    ],
    ids=named,
)
def test_a_method_that_runs_out_of_iterations_says_so_and_returns_the_best_it_has(spec, laplacian, solve):
    solution = solve(spec, laplacian(12), np.ones(144))
    assert solution.status is Status.OUT_OF_BUDGET
    assert solution.iterations == 7
    assert 1e-8 < solution.residual < 1


@pytest.mark.parametrize(
    "spec", [CGSpec(), DirectSpec(), GCRODRSpec(), GMRESSpec(), MINRESSpec(), SKRSpec()], ids=named
)
def test_a_system_without_solution_breaks_down_and_does_not_raise(spec, solve):
    A = sparse.csr_array(sparse.diags_array([1.0, 2.0, 3.0, 0.0]))
    solution = solve(spec, A, np.ones(4))
    assert solution.status is Status.BROKE_DOWN
    assert np.isfinite(solution.value).all()
    assert solution.residual <= 1


@pytest.mark.parametrize("spec", [GCRODRSpec(), GMRESSpec(), MINRESSpec(), SKRSpec()], ids=named)
def test_a_method_asked_for_more_than_round_off_allows_stops(spec, laplacian, solve):
    tight = spec.model_copy(update={"tolerance": 1e-17})
    solution = solve(tight, laplacian(24), np.ones(576))
    assert solution.status is Status.BROKE_DOWN
    assert solution.residual < 1e-13


@pytest.mark.parametrize("spec", [CGSpec(), GCRODRSpec(m=20, k=8), GMRESSpec(), MINRESSpec()], ids=named)
def test_every_product_with_the_matrix_is_counted(spec, laplacian, monkeypatch):
    A, calls = laplacian(12), []

    class Counted:
        shape, data = A.shape, A.data

        def __matmul__(self, x):
            calls.append(1)
            return A @ x

        def diagonal(self):
            return A.diagonal()

    # Run-time types are checked at the door of LinearProblem: the double goes in behind it.
    problem = LinearProblem(A, np.ones(144))
    object.__setattr__(problem, "matrix", Counted())
    solution = spec.build(Profile((144,), is_symmetric=True), GENERATOR).solve(problem)
    assert solution.status is Status.CONVERGED
    assert solution.applications == len(calls)
