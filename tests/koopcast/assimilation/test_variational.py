"""3D-Var, 4D-Var and EnVar: reductions to Kalman's formulas and to one another."""

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from koopcast.assimilation.base import Climatology, Observed, Setting, Window
from koopcast.errors import EmptySelection
from koopcast.generation import Run, SystemDynamics
from koopcast.integrators.rk4 import RK4Spec
from koopcast.systems.lorenz96 import Lorenz96Spec
from tests.koopcast.assimilation.test_analyses import DOMAIN, method, seeded

STATES, BATCH = 6, 3
CELLS = (0, 2, 3)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


CLIMATE = normal(50, STATES, seed=1) @ normal(STATES, STATES, seed=2)
B = torch.cov(CLIMATE.T)
SETTING = Setting(active=torch.ones(STATES).double(), climatology=Climatology(CLIMATE, CLIMATE))
FULL = {"kind": "climatological", "factor": 1.0}
TIGHT = {"tolerance": 1e-10, "inner_tolerance": 1e-12, "iterations": 8}
H = torch.eye(STATES, dtype=torch.float64)[list(CELLS)]
M = torch.linalg.qr(normal(STATES, STATES, seed=3))[0] * 1.1
XB = normal(BATCH, 1, STATES, seed=4)
INNER = ["direct", "cg"]


def observations(times, see=None, seed=5):
    """Values and variances of some cells at some times; some values are missing."""
    value = normal(BATCH, times, len(CELLS), seed=seed)
    value[1, 0, 2] = torch.nan
    variance = 0.3 + torch.rand(BATCH, times, len(CELLS), generator=seeded(seed), dtype=torch.float64)
    index = torch.tensor(CELLS).expand(BATCH, -1)

    def observe(ensemble, place):
        predicted = ensemble[..., list(CELLS)] if see is None else see(ensemble)
        return Observed.of(value[:, place], variance[:, place], predicted, index, see)

    return observe, value, variance


def linear(x):
    return x @ M.T


def window(steps, see=None, step=linear):
    observe, value, variance = observations(len(steps), see)
    return Window(steps, step, observe), value, variance


def smoothed(steps, value, variance, Q=None):
    """The Rauch-Tung-Striebel smoother: means of x_0 ... x_n."""
    last, noise = max(steps), torch.zeros(STATES, STATES).double() if Q is None else Q
    results = []
    for one in range(BATCH):
        x, P, forecasts, filtered = XB[one, 0], B, [], []
        for k in range(last + 1):
            if k > 0:
                x, P = M @ x, M @ P @ M.T + noise
            forecasts.append((x, P))
            if k in steps:
                y, r = value[one, steps.index(k)], variance[one, steps.index(k)]
                there = ~torch.isnan(y)
                G = H[there]
                K = P @ G.T @ torch.linalg.inv(G @ P @ G.T + torch.diag(r[there]))
                x, P = x + K @ (y[there] - G @ x), P - K @ G @ P
            filtered.append((x, P))
        means = [filtered[-1][0]]
        for k in reversed(range(last)):
            (x, P), (ahead, A) = filtered[k], forecasts[k + 1]
            means.insert(0, x + P @ M.T @ torch.linalg.solve(A, means[0] - ahead))
        results.append(torch.stack(means))
    return torch.stack(results)


@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("see", [None, lambda x: x @ H.T])
def test_3dvar_of_linear_observations_is_the_kalman_update(inner, see):
    observe, value, variance = observations(1, see)
    expected = smoothed((0,), value, variance)[:, 0]
    analysis = method("var3d", SETTING, background=FULL, minimiser={"inner": inner, **TIGHT})(
        XB, observe(XB, 0), seeded()
    )
    assert torch.allclose(analysis.ensemble[:, 0], expected, atol=1e-10, rtol=0)
    if inner == "direct":
        S = H @ B @ H.T + torch.diag(variance[0, 0])
        P = B - B @ H.T @ torch.linalg.solve(S, H @ B)
        assert torch.allclose(analysis.std[0], P.diagonal().sqrt(), atol=1e-10)
        freedom = torch.trace(torch.linalg.solve(S, H @ B @ H.T))
        assert float(analysis.figures["degrees_of_freedom"][0]) == pytest.approx(float(freedom), abs=1e-9)
        d = value[0, 0] - H @ XB[0, 0]
        chi = float(d @ torch.linalg.solve(S, d))
        assert float(analysis.figures["chi_square"][0]) == pytest.approx(chi, abs=1e-9)


@pytest.mark.parametrize("inner", INNER)
def test_3dvar_of_nonlinear_observations_ends_where_the_gradient_vanishes(inner):
    observe, *_ = observations(1, lambda x: x[..., list(CELLS)] + 0.1 * x[..., :3] ** 2)
    analyse = method("var3d", SETTING, background=FULL, minimiser={"inner": inner, **TIGHT})
    x = analyse(XB, observe(XB, 0), seeded()).ensemble.requires_grad_()
    seen = observe(x, 0)
    d = (seen.value[:, None] - seen.predicted) * seen.scale[:, None]
    cost = ((x - XB) @ torch.linalg.inv(B) * (x - XB)).sum() / 2 + d.square().sum() / 2
    gradient = torch.autograd.grad(cost, x)[0]
    start = XB.clone().requires_grad_()
    seen = observe(start, 0)
    d = (seen.value[:, None] - seen.predicted) * seen.scale[:, None]
    first = torch.autograd.grad(d.square().sum() / 2, start)[0]
    assert gradient.norm() < 1e-6 * first.norm()


@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("steps", [(1,), (2, 5), (0, 1, 3)])
def test_4dvar_of_a_linear_model_is_the_kalman_smoother(inner, steps):
    case, value, variance = window(steps)
    analyse = method("var4d", SETTING, background=FULL, minimiser={"inner": inner, **TIGHT})
    analysis = analyse(XB, case, seeded())
    expected = smoothed(steps, value, variance)[:, 0]
    assert torch.allclose(analysis.ensemble[:, 0], expected, atol=1e-8, rtol=0)


def test_one_iteration_is_enough_where_everything_is_linear():
    case, value, variance = window((1, 2))
    analyse = method("var4d", SETTING, background=FULL, minimiser={"iterations": 1})
    expected = smoothed((1, 2), value, variance)[:, 0]
    assert torch.allclose(analyse(XB, case, seeded()).ensemble[:, 0], expected, atol=1e-10)


@pytest.mark.parametrize("policy", ["recompute", {"kind": "revolve", "checkpoints": 2}])
def test_4dvar_is_the_same_whatever_the_adjoint_keeps(policy):
    analyses = []
    for options in ({"minimiser": {"inner": "direct", **TIGHT}}, {"minimiser": {"inner": "cg", **TIGHT}}):
        model = SystemDynamics(Run(Lorenz96Spec(points=STATES), RK4Spec(), dt=0.05))
        case, _, _ = window((1, 3), step=lambda x, m=model: m.step(x.flatten(0, 1)).unflatten(0, x.shape[:2]))
        analyse = method("var4d", SETTING, background=FULL, gradient=policy, **options)
        with torch.no_grad():
            analyses.append(analyse(XB, case, seeded()))
    assert torch.allclose(analyses[0].ensemble, analyses[1].ensemble, atol=1e-8)
    chi = [analysis.figures["chi_square"] for analysis in analyses]
    assert torch.allclose(*chi, rtol=1e-8)


@pytest.mark.parametrize("inner", INNER)
def test_experiments_of_a_batch_do_not_depend_on_one_another(inner):
    observe, *_ = observations(1, lambda x: x[..., list(CELLS)] ** 3 / 3)
    analyse = method("var3d", SETTING, background=FULL, minimiser={"inner": inner})
    # One experiment starts so close that it is done while the others go on.
    near = torch.cat([XB[:1] * 0.01, XB[1:] * 3])
    whole = observe(near, 0)
    for one in range(BATCH):
        rows = slice(one, one + 1)
        own = Observed(*(part[rows] for part in whole[:4]), whole.see)
        alone = analyse(near[rows], own, seeded()).ensemble
        assert torch.allclose(alone, analyse(near, whole, seeded()).ensemble[rows], rtol=1e-10, atol=1e-12)


def test_background_covariances_of_an_ensemble_are_refused_for_a_single_state():
    for kind in ("var3d", "var4d"):
        with pytest.raises(ValidationError, match=r"estimated from an ensemble.*method `envar`"):
            method(kind, background="hybrid")


Q_STD = 0.2 + torch.rand(STATES, generator=seeded(11), dtype=torch.float64)
NOISE = normal(STATES, 3, seed=12) / 3
WEAK = [
    (replace(SETTING, noise_std=Q_STD), torch.diag(Q_STD**2)),
    (replace(SETTING, noise=NOISE), NOISE @ NOISE.T),
]


@pytest.mark.parametrize(
    "options", [{"form": "forcing"}, {"form": "state"}, {"minimiser": {"inner": "cg", **TIGHT}}]
)
@pytest.mark.parametrize("case", [0, 1])
def test_weak_4dvar_of_a_linear_model_is_the_kalman_smoother_with_model_error(options, case):
    setting, Q = WEAK[case]
    steps = (1, 4)
    problem, value, variance = window(steps)
    analyse = method("var4d_weak", setting, background=FULL, lag=2, shift=2, **options)
    analysis = analyse(XB, problem, seeded())
    expected = smoothed(steps, value, variance, Q)
    assert torch.allclose(analysis.ensemble[:, 0], expected[:, 0], atol=1e-8, rtol=0)
    for k, state in zip(steps, analysis.path, strict=True):
        assert torch.allclose(state[:, 0], expected[:, k], atol=1e-8, rtol=0)


def test_both_forms_of_weak_4dvar_end_at_the_same_minimum_of_a_nonlinear_model():
    model = SystemDynamics(Run(Lorenz96Spec(points=STATES), RK4Spec(), dt=0.05))

    def step(x):
        return model.step(x.flatten(0, 1)).unflatten(0, x.shape[:2])

    problem, *_ = window((1, 3), lambda x: x[..., list(CELLS)] + 0.05 * x[..., :3] ** 2, step)
    forcing, state = (
        method("var4d_weak", WEAK[0][0], background=FULL, form=form, minimiser=TIGHT | {"iterations": 20})(
            XB, problem, seeded()
        )
        for form in ("forcing", "state")
    )
    assert torch.allclose(forcing.ensemble, state.ensemble, atol=1e-7)
    assert torch.allclose(forcing.path[1], state.path[1], atol=1e-7)


def test_a_small_model_error_makes_weak_4dvar_strong():
    problem, *_ = window((1, 3))
    strong = method("var4d", SETTING, background=FULL)(XB, problem, seeded())
    setting = replace(SETTING, noise_std=torch.full((STATES,), 1e-7, dtype=torch.float64))
    weak = method("var4d_weak", setting, background=FULL)(XB, problem, seeded())
    assert torch.allclose(strong.ensemble, weak.ensemble, atol=1e-9)


ENSEMBLE = normal(BATCH, 9, STATES, seed=13) @ normal(STATES, STATES, seed=14)


@pytest.mark.parametrize("inner", INNER)
def test_envar_without_localisation_is_the_stochastic_enkf(inner):
    observe, *_ = observations(1)
    seen = observe(ENSEMBLE, 0)
    options = {"inner": inner, **TIGHT}
    ours = method("envar", SETTING, members=9, minimiser=options)(ENSEMBLE, seen, seeded(1))
    enkf = method("enkf", SETTING, members=9)(ENSEMBLE, seen, seeded(1))
    assert torch.allclose(ours.ensemble, enkf.ensemble, atol=1e-9)
    assert torch.allclose(ours.figures["chi_square"], enkf.figures["chi_square"], rtol=1e-8)


def test_envar_with_half_the_gain_keeps_the_kalman_mean():
    observe, *_ = observations(1)
    seen = observe(ENSEMBLE, 0)
    half = method("envar", SETTING, members=9, anomalies="half_gain")(ENSEMBLE, seen, seeded())
    etkf = method("etkf", SETTING, members=9)(ENSEMBLE, seen, seeded())
    assert torch.allclose(half.ensemble.mean(1), etkf.ensemble.mean(1), atol=1e-9)
    # A - K H A / 2
    A, S = (part - part.mean(1, keepdim=True) for part in (ENSEMBLE, seen.predicted))
    P, R = A.mT @ A / 8, torch.diag_embed(torch.where(seen.scale > 0, seen.scale, 1e-9) ** -2)
    K = P @ H.T @ torch.linalg.inv(H @ P @ H.T + R)
    expected = A - S @ K.mT / 2
    assert torch.allclose(half.ensemble - half.ensemble.mean(1, keepdim=True), expected, atol=1e-7)


def test_a_hybrid_tends_to_3dvar_as_the_static_weight_tends_to_one():
    observe, *_ = observations(1)
    hybrid = {"kind": "hybrid", "weight": 1 - 1e-12, "static": FULL}
    mean = ENSEMBLE.mean(1, keepdim=True)
    envar = method("envar", SETTING, members=9, background=hybrid)(ENSEMBLE, observe(ENSEMBLE, 0), seeded())
    var3d = method("var3d", SETTING, background=FULL)(mean, observe(mean, 0), seeded())
    assert torch.allclose(envar.ensemble.mean(1, keepdim=True), var3d.ensemble, atol=1e-8)


@pytest.mark.parametrize("inner", INNER)
def test_4denvar_of_a_linear_model_has_the_mean_of_the_iterative_smoother(inner):
    problem, *_ = window((1, 3))
    options = {"members": 9, "lag": 2, "shift": 2}
    ours = method("envar4d", SETTING, minimiser={"inner": inner, **TIGHT}, **options)(
        ENSEMBLE, problem, seeded()
    )
    other = method("ienks", SETTING, iterations=1, **options)(ENSEMBLE, problem, seeded())
    assert torch.allclose(ours.ensemble.mean(1), other.ensemble.mean(1), atol=1e-9)
    assert torch.allclose(ours.figures["chi_square"], other.figures["chi_square"], rtol=1e-8)


def test_localised_envar_changes_only_what_is_near():
    observe, *_ = observations(1)
    near = {"kind": "gaspari_cohn", "radius": 0.9, "radius_kind": "half_support"}
    setting = replace(SETTING, domain=DOMAIN)
    seen = observe(ENSEMBLE, 0)
    seen = seen._replace(scale=seen.scale * torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64))
    after = method("envar", setting, members=9, background={"kind": "ensemble", "localization": near})(
        ENSEMBLE, seen, seeded()
    ).ensemble
    # Cell 0 is observed, and its neighbours on the ring are 1 and 5.
    moved = (after - ENSEMBLE).abs().amax(dim=(0, 1))
    assert (moved[[2, 3, 4]] < 1e-9).all()
    assert (moved[[0, 1, 5]] > 1e-3).all()


def test_weak_4dvar_says_what_it_lacks():
    with pytest.raises(EmptySelection, match="model_noise"):
        method("var4d_weak", SETTING, background=FULL)
    with pytest.raises(ValidationError, match="shift: 1 is not lag, 2"):
        method("var4d_weak", SETTING, lag=2)
    with pytest.raises(ValidationError, match="the state form solves directly"):
        method("var4d_weak", SETTING, form="state", minimiser={"inner": "cg"})


@pytest.mark.parametrize("form", ["primal", "dual"])
@pytest.mark.parametrize("solver", ["cholesky", "qr", "cg"])
def test_blue_is_the_kalman_update_in_every_form(form, solver):
    observe, value, variance = observations(1)
    analysis = method("blue", SETTING, background=FULL, form=form, solver=solver)(
        XB, observe(XB, 0), seeded()
    )
    assert torch.allclose(analysis.ensemble[:, 0], smoothed((0,), value, variance)[:, 0], atol=1e-10, rtol=0)
    var3d = method("var3d", SETTING, background=FULL)(XB, observe(XB, 0), seeded())
    assert torch.allclose(analysis.std, var3d.std)
    for name in ("chi_square", "degrees_of_freedom"):
        assert torch.allclose(analysis.figures[name], var3d.figures[name])
