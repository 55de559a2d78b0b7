import numpy as np
import pytest
import scipy.sparse as sparse

from koopcast.linear import LinearProblem, Profile, Status
from koopcast.solvers.amg import AMGSpec
from koopcast.solvers.cg import CGSpec
from koopcast.solvers.preconditioners.amg import AMGSpec as MultigridSpec
from koopcast.solvers.preconditioners.amg import v_cycle

RNG = np.random.default_rng


@pytest.mark.parametrize("coarsening", ["ruge_stuben", "smoothed_aggregation"])
def test_iterations_hardly_grow_with_the_grid_where_those_of_cg_double(laplacian, solve, coarsening):
    def iterations(spec, n):
        return solve(spec, laplacian(n), RNG(1).standard_normal(n * n)).iterations

    coarse, fine = (iterations(AMGSpec(coarsening=coarsening), n) for n in (32, 64))
    assert iterations(CGSpec(), 64) > 1.8 * iterations(CGSpec(), 32)
    assert fine <= coarse + 3
    assert fine <= 15


def test_the_v_cycle_is_symmetric_and_positive_definite(laplacian):
    cycle = v_cycle(laplacian(12), "ruge_stuben")
    M = np.stack([cycle(e) for e in np.eye(144)])
    assert np.allclose(M, M.T, atol=1e-12)
    assert np.linalg.eigvalsh((M + M.T) / 2).min() > 0


def run(problems, growth=2.0):
    preconditioner = MultigridSpec(growth=growth).start(Profile((256,), is_symmetric=True))
    builds = []
    for problem in problems:
        assert preconditioner.prepare(problem) is not None
        builds.append(preconditioner.builds)
        preconditioner.learn(int(problem.context["iterations"]))
    return builds


def sequence(laplacian, iterations):
    return [
        LinearProblem(sparse.csr_array(laplacian(8)), np.ones(64), context={"iterations": float(count)})
        for count in iterations
    ]


def test_a_hierarchy_serves_until_iterations_grow_by_the_factor(laplacian):
    assert run(sequence(laplacian, [5, 6, 8, 10, 11, 5, 6])) == [1, 1, 1, 1, 1, 2, 2]


def test_a_hierarchy_that_fails_at_once_ends_all_reuse(laplacian):
    assert run(sequence(laplacian, [5, 20, 5, 5, 5])) == [1, 1, 2, 3, 4]


def test_a_matrix_that_stays_the_same_keeps_the_hierarchy_made_for_it(laplacian):
    problem = LinearProblem(laplacian(8), np.ones(64))
    preconditioner = MultigridSpec().start(Profile((64,), is_symmetric=True))
    for iterations in (5, 50, 50):
        preconditioner.prepare(problem)
        preconditioner.learn(iterations)
    assert preconditioner.builds == 1


def test_similar_matrices_are_solved_by_the_first_hierarchy_alone(laplacian, monkeypatch):
    import koopcast.solvers.preconditioners.amg as module

    made = []
    monkeypatch.setattr(module, "v_cycle", lambda A, kind: made.append(1) or v_cycle(A, kind))
    solver = AMGSpec().build(Profile((16, 16), is_symmetric=True), RNG(0))
    for number in range(5):
        matrix = sparse.csr_array(laplacian(16) + sparse.diags_array(0.1 * RNG(number).random(256)))
        solution = solver.solve(LinearProblem(matrix, np.ones(256)))
        assert solution.status is Status.CONVERGED
    assert len(made) == 1
