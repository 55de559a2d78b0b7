import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sparse
from pydantic import ValidationError

from koopcast.linear import LinearProblem, Profile, Status
from koopcast.solvers.gcro_dr import GCRODR, GCRODRSpec, harmonic_vectors
from koopcast.solvers.gmres import GMRESSpec
from koopcast.solvers.iterative import Operator

RNG = np.random.default_rng


def test_the_first_cycle_is_that_of_gmres(windy, solve):
    A, b = windy(12, 1.5, 0.7), RNG(1).standard_normal(144)
    for steps in (3, 12):
        ours = solve(GCRODRSpec(m=12, k=5, max_iterations=steps), A, b, is_symmetric=False)
        gmres = solve(GMRESSpec(m=12, max_iterations=steps), A, b, is_symmetric=False)
        assert np.allclose(ours.value, gmres.value, rtol=1e-10)


def test_keeping_a_space_over_restarts_saves_iterations_over_gmres(spectral, solve):
    # Ten small eigenvalues hold a restarted method up; k = 10 removes them.
    A = spectral(np.concatenate([np.linspace(1e-3, 1e-2, 10), np.linspace(1, 2, 190)]))
    b = RNG(2).standard_normal(200)
    gmres, ours = solve(GMRESSpec(m=25), A, b), solve(GCRODRSpec(m=25, k=10), A, b)
    assert ours.status is Status.CONVERGED
    assert ours.iterations < gmres.iterations / 2


def operator_of(A):
    return Operator(LinearProblem(A, np.ones(A.shape[0])), lambda y: y)


def test_an_invariant_space_that_is_recycled_takes_its_eigenvalues_away():
    # Normal, not symmetric; with the space of all other eigenvalues recycled, three distinct ones are left.
    eigenvalues = np.concatenate([1e-3 * np.arange(1, 7), np.resize([1.0, 2.0, 3.0], 54)])
    Q = np.linalg.qr(RNG(3).standard_normal((60, 60)))[0]
    A = sparse.csr_array((Q * eigenvalues) @ Q.T)
    method = GCRODR(20, 6, carries=True)
    method._U = Q[:, :6] @ RNG(4).standard_normal((6, 6))
    method._W = np.empty((60, 21), order="F")
    operator, b = operator_of(A), RNG(5).standard_normal(60)
    correction = method.correct(operator, b, 1e-9 * np.linalg.norm(b), 100)
    assert correction.iterations == 3
    assert operator.applications == 6 + 3
    assert np.linalg.norm(b - A @ correction.value) <= 1e-9 * np.linalg.norm(b)


def test_the_kept_space_has_an_orthonormal_image_after_cold_and_warm_starts(windy):
    method = GCRODR(14, 5, carries=True)
    for b, c in ((1.5, 0.7), (1.4, 0.8), (0.1, 0.0)):
        A = windy(12, b, c)
        operator = Operator(LinearProblem(A, np.ones(144)), lambda y: 0.25 * y)
        method.correct(operator, np.ones(144), 1e-6, 1000)
        U, C = method._U, method._images
        assert U.shape[1] in (5, 6)
        assert np.allclose(0.25 * (A @ U), C, atol=1e-9)
        assert np.allclose(C.T @ C, np.eye(U.shape[1]), atol=1e-10)


def test_the_kept_space_is_that_of_the_smallest_eigenvalues_once_it_has_settled(spectral):
    eigenvalues = np.concatenate([np.linspace(0.01, 0.05, 4), np.linspace(1, 3, 146)])
    A, method = spectral(eigenvalues), GCRODR(30, 4, carries=True)
    b = RNG(6).standard_normal(150)
    method.correct(operator_of(A), b, 1e-12 * np.linalg.norm(b), 2000)
    wanted = np.linalg.eigh(A.toarray())[1][:, :4]
    assert scipy.linalg.subspace_angles(wanted, method._U).max() < 1e-3


@pytest.mark.parametrize("count", [2, 3, 4, 7])
def test_harmonic_vectors_solve_the_generalised_problem_and_never_cut_a_pair(count):
    rng = RNG(7)
    G, N = rng.standard_normal((9, 8)), rng.standard_normal((9, 8))
    Z = harmonic_vectors(G, N, count)
    theta = scipy.linalg.eigvals(G.T @ G, G.T @ N)
    theta = theta[np.argsort(np.abs(theta))]
    found = scipy.linalg.eigvals(
        *(np.linalg.lstsq(Z, S @ Z, rcond=None)[0] for S in (np.linalg.solve(G.T @ N, G.T @ G), np.eye(8)))
    )
    assert Z.shape[1] in (count, count + 1)
    assert np.isrealobj(Z)
    for value in found:
        assert np.abs(theta[: Z.shape[1]] - value).min() < 1e-9 * abs(value)


def test_without_a_kept_space_harmonic_vectors_are_those_of_the_square_hessenberg_matrix_with_its_update():
    # H + h² f eᵀ with f = H⁻ᵀ e: the form in which restarted methods state them.
    H = np.triu(RNG(11).standard_normal((8, 7)), -1)
    square, last = H[:7], np.eye(7)[6]
    update = H[7, 6] ** 2 * np.outer(np.linalg.solve(square.T, last), last)
    values, vectors = np.linalg.eig(square + update)
    kept = vectors[:, np.argsort(np.abs(values))[:3]]
    Z = harmonic_vectors(H, np.eye(8, 7), 3)
    inside = Z @ np.linalg.lstsq(Z, kept, rcond=None)[0]
    assert np.allclose(inside, kept, atol=1e-10)


def test_nothing_is_carried_from_one_system_to_the_next(windy):
    profile = Profile((144,), is_symmetric=False)
    problems = [LinearProblem(windy(12, b, 0.3), RNG(8).standard_normal(144)) for b in (0.5, 0.6)]
    fresh = [GCRODRSpec(m=14, k=5).build(profile, RNG(0)).solve(p).iterations for p in problems]
    solver = GCRODRSpec(m=14, k=5).build(profile, RNG(0))
    assert [solver.solve(problem).iterations for problem in problems] == fresh


@pytest.mark.parametrize(("m", "k"), [(20, 19), (20, 20), (3, 1), (201, 20), (20, 0)])
def test_dimensions_that_leave_no_room_are_refused(m, k):
    with pytest.raises(ValidationError):
        GCRODRSpec(m=m, k=k)


def test_the_refusal_of_k_says_what_is_allowed():
    with pytest.raises(ValidationError, match="at most m - 2 = 18"):
        GCRODRSpec(m=20, k=19)


def test_more_is_kept_than_there_are_unknowns_and_nothing_breaks(spectral, solve):
    solution = solve(GCRODRSpec(m=40, k=20), spectral(np.linspace(1, 2, 6)), np.ones(6))
    assert solution.status is Status.CONVERGED
