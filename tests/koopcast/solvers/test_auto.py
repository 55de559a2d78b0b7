import numpy as np
import pytest

from koopcast.linear import Box, LinearProblem, Profile, Status
from koopcast.solvers.auto import AutoSpec

BOX = Box(("dirichlet", "dirichlet"), np.ones((64, 64)))


@pytest.mark.parametrize(
    ("profile", "kind"),
    [
        (Profile((64, 64), is_symmetric=True, is_shared=True, box=BOX), "fft"),
        (Profile((64, 64), is_symmetric=True, has_boxes=True), "fft"),
        (Profile((512, 512), is_symmetric=False, is_shared=True), "direct"),
        (Profile((256, 256), is_symmetric=True), "direct"),
        (Profile((256, 256), is_symmetric=False), "direct"),
        (Profile((64, 64), is_symmetric=True, is_definite=False), "direct"),
        (Profile((50_000,), is_symmetric=True), "direct"),
        (Profile((421, 421), is_symmetric=True), "amg"),
        (Profile((64, 64, 64), is_symmetric=True), "amg"),
        (Profile((512, 512), is_symmetric=True, is_definite=False), "minres"),
        (Profile((512, 512), is_symmetric=False), "skr"),
        (Profile((48, 48, 48), is_symmetric=False), "skr"),
    ],
    ids=str,
)
def test_the_choice_follows_the_table_and_says_why(profile, kind):
    spec, why = AutoSpec().choice(profile)
    assert spec.kind == kind
    assert spec.refusal(profile) is None
    assert AutoSpec().reason(profile) == f"{kind}: {why}"
    assert len(why) > 20


def test_the_tolerance_reaches_the_chosen_solver(laplacian):
    for profile in (Profile((12, 12), is_symmetric=True), Profile((421, 421), is_symmetric=True)):
        assert AutoSpec(tolerance=1e-5).choice(profile)[0].tolerance == 1e-5


def test_the_chosen_solver_solves_and_orders(laplacian):
    profile = Profile((12, 12), is_symmetric=True)
    solver = AutoSpec().build(profile, np.random.default_rng(0))
    assert solver.solve(LinearProblem(laplacian(12), np.ones(144))).status is Status.CONVERGED
    features = [np.array([0.0]), np.array([5.0]), np.array([1.0])]
    assert list(AutoSpec().order(profile, features)) == [0, 1, 2]
    assert list(AutoSpec().order(Profile((512, 512), is_symmetric=False), features)) == [0, 2, 1]
