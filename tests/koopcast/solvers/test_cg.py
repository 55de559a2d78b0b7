import numpy as np
import pytest

from koopcast.linear import Profile, Status
from koopcast.solvers.cg import CGSpec
from koopcast.solvers.preconditioners import ILUSpec, SSORSpec


@pytest.mark.parametrize("distinct", [1, 2, 5, 9])
def test_iterations_are_the_number_of_distinct_eigenvalues(spectral, solve, distinct):
    eigenvalues = np.resize(np.linspace(1, 10, distinct), 60)
    solution = solve(CGSpec(tolerance=1e-10), spectral(eigenvalues), np.random.default_rng(1).random(60))
    assert solution.iterations == distinct


def test_the_error_in_the_energy_norm_is_within_the_bound_of_the_condition_number(spectral, solve):
    eigenvalues, rng = np.linspace(1, 400, 200), np.random.default_rng(2)
    A, x = spectral(eigenvalues), rng.standard_normal(200)
    ratio = (np.sqrt(400) - 1) / (np.sqrt(400) + 1)
    for steps in (5, 15, 30):
        e = solve(CGSpec(max_iterations=steps), A, A @ x).value - x
        assert np.sqrt(e @ (A @ e)) <= 2 * ratio**steps * np.sqrt(x @ (A @ x))


def test_a_direction_of_negative_curvature_ends_it(spectral, solve):
    solution = solve(CGSpec(), spectral(np.linspace(-1, 3, 40)), np.ones(40))
    assert solution.status is Status.BROKE_DOWN


def test_a_preconditioner_that_is_not_symmetric_is_refused():
    profile = Profile((9,), is_symmetric=True)
    assert "ilu" in CGSpec(preconditioner=ILUSpec()).refusal(profile)
    assert CGSpec(preconditioner=SSORSpec()).refusal(profile) is None
