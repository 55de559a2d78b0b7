import numpy as np
import pytest
import scipy.sparse as sparse

from koopcast.errors import InvalidInput
from koopcast.linear import LinearProblem, Profile, Status
from koopcast.solvers.sor import SORSpec
from koopcast.solvers.ssor import SSORSpec
from koopcast.studies.many_systems import Base, iteration_counts, side_by_side

OMEGAS = np.array([0.8, 1.3, 1.6])


def problems(count: int, seed: int = 0) -> list[LinearProblem]:
    """Return systems whose couplings and diagonals all differ, on a grid of 4 by 4 points."""
    rng = np.random.default_rng(seed)
    line = sparse.diags_array([1.0, 1.0], offsets=[-1, 1], shape=(4, 4))
    eye = sparse.eye_array(4)
    pattern = sparse.csr_array(sparse.triu(sparse.kron(line, eye) + sparse.kron(eye, line)))
    found = []
    for _ in range(count):
        entries = -rng.uniform(0.5, 1.5, pattern.nnz)
        upper = sparse.csr_array((entries, pattern.indices, pattern.indptr), (16, 16))
        coupling = upper + upper.T
        diagonal = sparse.diags_array(-coupling.sum(axis=1) + rng.uniform(0.2, 1.0))
        found.append(LinearProblem(sparse.csr_array(coupling + diagonal), rng.standard_normal(16)))
    return found


def one_by_one(base: Base, systems: list[LinearProblem], cap: int) -> np.ndarray:
    spec = (SORSpec if base == "sor" else SSORSpec)(max_iterations=cap)
    profile = Profile((16,), is_symmetric=True)
    counts = np.empty((len(systems), len(OMEGAS)), dtype=int)
    for action, omega in enumerate(OMEGAS.tolist()):
        solver = type(spec)(omega=omega, max_iterations=cap).build(profile, np.random.default_rng(0))
        for place, system in enumerate(systems):
            solution = solver.solve(system)
            assert solution.status in (Status.CONVERGED, Status.OUT_OF_BUDGET)
            counts[place, action] = solution.iterations
    return counts


@pytest.mark.parametrize("base", ["sor", "ssor"])
@pytest.mark.parametrize("count", [1, 12, 90])
def test_counts_are_those_of_solving_one_by_one(base: Base, count: int) -> None:
    # 270 pairs of system and ω pass through 256 slots.
    systems = problems(count)
    found = iteration_counts(base, side_by_side(systems), OMEGAS, 1e-8, 10_000)
    assert np.array_equal(found, one_by_one(base, systems, 10_000))


def test_what_takes_too_long_counts_as_the_cap() -> None:
    systems = problems(6)
    free = one_by_one("sor", systems, 10_000)
    cap = int(np.median(free))
    assert (free > cap).any()
    found = iteration_counts("sor", side_by_side(systems), OMEGAS, 1e-8, cap)
    assert np.array_equal(found, np.minimum(free, cap))


def test_matrices_of_different_patterns_are_refused() -> None:
    other = LinearProblem(sparse.csr_array(np.eye(16)), np.ones(16))
    with pytest.raises(InvalidInput, match="system 2 has entries elsewhere"):
        side_by_side([*problems(2), other])
