"""3D-Var and strong 4D-Var: reductions to Kalman's formulas, derivatives, cycling."""

import pytest
import torch
from pydantic import ValidationError

from koopcast.assimilation.base import Climatology, Observed, Setting, Window
from koopcast.generation import Run, SystemDynamics
from koopcast.integrators.rk4 import RK4Spec
from koopcast.systems.lorenz96 import Lorenz96Spec
from tests.koopcast.assimilation.test_analyses import method, seeded

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
