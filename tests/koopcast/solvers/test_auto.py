import numpy as np
import pytest

from koopcast.distributions.uniform import UniformSpec
from koopcast.linear import Box, LinearProblem, Profile, Status, Transform
from koopcast.numerics.finite_volumes import assemble, diffusion, laplacian_box
from koopcast.solvers.auto import CG_STEPS, AutoSpec
from koopcast.solvers.base import solve_all
from koopcast.solvers.box import are_fast
from koopcast.solvers.cg import CGSpec
from koopcast.solvers.direct import DirectSpec
from koopcast.solvers.preconditioners import FFTSpec
from koopcast.studies.sequences import draw_problems
from koopcast.systems.convection_diffusion import ConvectionDiffusionSpec
from koopcast.systems.darcy import DarcySpec

SINES: tuple[Transform, ...] = ("dirichlet", "dirichlet")
BOX = Box(SINES, np.ones((64, 64)))
PLANE = Profile((49, 49), is_symmetric=True, nearby=SINES)


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


@pytest.mark.parametrize(
    ("profile", "kind"),
    [
        (PLANE, "cg"),
        (Profile((254, 254), is_symmetric=True, nearby=SINES), "cg"),
        (Profile((383, 383), is_symmetric=True, nearby=SINES), "cg"),
        (Profile((49, 49), is_symmetric=False, nearby=SINES), "gmres"),
        (Profile((49, 49), is_symmetric=True), None),
        (Profile((49, 32), is_symmetric=True, nearby=SINES), None),
        (Profile((96, 49), is_symmetric=True, nearby=SINES), None),
        (Profile((49, 49), is_symmetric=True, is_shared=True, nearby=SINES), None),
        (Profile((64, 64), is_symmetric=True, nearby=SINES, box=BOX), None),
        (Profile((49, 49), is_symmetric=True, nearby=SINES, has_boxes=True), None),
        (Profile((49, 49), is_symmetric=True, is_definite=False, nearby=SINES), None),
        (Profile((49,) * 3, is_symmetric=True, nearby=(*SINES, "dirichlet")), None),
    ],
    ids=str,
)
def test_transforms_go_first_on_large_planes_of_fast_lengths_near_a_box(profile, kind):
    trial, reason = AutoSpec(tolerance=1e-6).trial(profile), AutoSpec().reason(profile)
    if trial is None:
        assert kind is None
        assert " with fft" not in reason
    else:
        assert trial.kind == kind
        assert trial.refusal(profile) is None
        assert trial.tolerance == 1e-6
        assert reason.startswith(f"{kind} with fft, until a system takes over {trial.max_iterations} iter")


def test_the_reason_names_the_solver_on_trial_and_the_one_after_it():
    assert AutoSpec().reason(PLANE) == (
        "cg with fft, until a system takes over 32 iterations: a nearby operator on a box is inverted by "
        "transforms; from then on direct: at most 90000 unknowns on 2 axes: sparse LU is the fastest"
    )


@pytest.mark.parametrize(
    ("transform", "unknowns", "fast"),
    [
        ("dirichlet", 254, True),
        ("dirichlet", 128, True),
        ("dirichlet", 58, False),
        ("dirichlet", 96, False),
        ("dirichlet", 97, True),
        ("periodic", 96, True),
        ("periodic", 97, False),
        ("neumann", 96, True),
        ("neumann", 94, False),
    ],
)
def test_a_transform_is_fast_where_its_length_has_small_factors_alone(transform, unknowns, fast):
    assert are_fast((transform,), (unknowns,)) is fast
    assert are_fast((transform, "periodic"), (unknowns, 64)) is fast


def near_a_box(amplitude: float) -> LinearProblem:
    """Return -div(exp(amplitude g) grad u) = 1 on 51² nodes, with its nearby Laplacian."""
    wave = np.cos(np.pi * np.linspace(0, 1, 51))
    a, h = np.exp(amplitude * np.outer(wave, wave)), (1 / 50, 1 / 50)
    nearby = laplacian_box(SINES, (49, 49), h, float(a.mean()))
    return LinearProblem(assemble(diffusion(a, h)), np.ones(49**2), nearby=nearby)


def test_a_system_beyond_the_budget_and_all_after_it_are_solved_by_lu():
    problems = [near_a_box(amplitude) for amplitude in (0.5, 4.0, 0.5, 4.0)]
    auto = AutoSpec().build(PLANE, np.random.default_rng(0))
    lu = DirectSpec().build(PLANE, np.random.default_rng(0))
    found, exact = [auto.solve(one) for one in problems], [lu.solve(one) for one in problems]
    alone, beyond = (
        CGSpec(preconditioner=FFTSpec(), max_iterations=CG_STEPS)
        .build(PLANE, np.random.default_rng(0))
        .solve(problem)
        for problem in problems[:2]
    )
    assert [one.status for one in found] == [Status.CONVERGED] * 4
    assert (alone.status, beyond.status) == (Status.CONVERGED, Status.OUT_OF_BUDGET)
    assert [one.iterations for one in found] == [alone.iterations, CG_STEPS, 0, 0]
    assert [one.applications for one in found] == [alone.applications, beyond.applications + 1, 1, 1]
    np.testing.assert_allclose(found[0].value, exact[0].value, atol=1e-7 * exact[0].value.max())
    for one, other in zip(found[1:], exact[1:], strict=True):
        np.testing.assert_array_equal(one.value, other.value)


def test_every_sequence_begins_with_the_trial_and_gives_the_same_values():
    problems = [near_a_box(amplitude) for amplitude in (0.5, 4.0, 0.7)]
    first, again = (
        [one for _, one in solve_all(AutoSpec(), PLANE, problems, np.random.default_rng(seed))]
        for seed in (0, 1)
    )
    for one, other in zip(first, again, strict=True):
        assert (one.iterations, one.applications) == (other.iterations, other.applications)
        np.testing.assert_array_equal(one.value, other.value)


def test_gmres_on_trial_agrees_with_lu_where_a_wind_blows(windy):
    A, b = windy(49, 0.1, -0.2), np.ones(49**2)
    nearby = laplacian_box(SINES, (49, 49), (1.0, 1.0))
    profile = Profile((49, 49), is_symmetric=False, nearby=SINES)
    found, exact = (
        spec.build(profile, np.random.default_rng(0)).solve(LinearProblem(A, b, nearby=nearby))
        for spec in (AutoSpec(), DirectSpec())
    )
    assert found.status is Status.CONVERGED
    assert 0 < found.iterations <= 40
    assert found.residual <= 1e-8
    np.testing.assert_allclose(found.value, exact.value, atol=1e-6 * exact.value.max())


@pytest.mark.parametrize(
    ("system", "laws", "kind"),
    [
        (DarcySpec(points=50), {}, "cg"),
        (
            ConvectionDiffusionSpec(points=49, diffusivity=0.1),
            {"direction": UniformSpec(low=0, high=6)},
            "gmres",
        ),
    ],
    ids=["darcy", "convection_diffusion"],
)
def test_systems_bring_the_nearby_operator_that_their_profile_promises(system, laws, kind):
    profile = system.profile(tuple(laws))
    problems = draw_problems(system, laws, 2, 0, "test")
    assert AutoSpec().reason(profile).startswith(f"{kind} with fft")
    for problem in problems:
        assert problem.nearby is not None
        assert problem.nearby.transforms == profile.nearby
        found, exact = (
            spec.build(profile, np.random.default_rng(0)).solve(problem)
            for spec in (AutoSpec(), DirectSpec())
        )
        assert found.status is Status.CONVERGED
        assert 0 < found.iterations <= CG_STEPS
        np.testing.assert_allclose(found.value, exact.value, atol=1e-6 * exact.value.max())
