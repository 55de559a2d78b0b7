"""Losses with an equation: exact solutions have no residual, and the derivative is right."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import spsolve

from koopcast.errors import ShapeMismatch
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.integrators.etdrk4 import ETDRK4Spec
from koopcast.losses import Measure, PhysicsResidualSpec, RelativeL2Spec
from koopcast.mapping import Signature
from koopcast.numerics.defects import defects
from koopcast.systems import BurgersSpec, DarcySpec, KdVSpec, NavierStokesSpec, PoissonSpec
from koopcast.systems.base import EvolvingSpec, StationarySpec

DARCY = DarcySpec(points=12)


def solved(
    system: StationarySpec, count: int
) -> tuple[torch.Tensor, torch.Tensor, Measure, PhysicsResidualSpec]:
    """Return the given fields of samples, their solutions, and what measures them."""
    given, solutions = [], []
    for number in range(count):
        fields = system.draw(torch.Generator().manual_seed(number), {})
        problem = system.problem(fields, {})
        solution = system.solution(fields, spsolve(problem.matrix.tocsc(), problem.rhs))
        given.append(np.stack(list(fields.values()), axis=-1))
        solutions.append(np.stack(list(solution.values()), axis=-1))
    info = system.describe()
    names = tuple(info.variables)
    signature = Signature(info.axes, names[:-1], names[-1:], 1, 1, info.time, ahead=False)
    inputs = torch.from_numpy(np.stack(given))[:, None]
    measure = Measure(
        info.axes,
        torch.ones(info.shape, dtype=torch.bool),
        torch.ones(1),
        torch.ones(1),
        signature=signature,
        given=inputs,
    )
    target = torch.from_numpy(np.stack(solutions))
    return inputs, target, measure, PhysicsResidualSpec(system=system, weight=1.0)


@pytest.mark.parametrize("system", [DARCY, PoissonSpec(points=10)], ids=lambda system: system.kind)
def test_a_solution_of_the_finite_volumes_has_a_residual_of_rounding(system: StationarySpec) -> None:
    _, u, measure, loss = solved(system, 2)
    assert loss.measure(u, u, measure).item() < 1e-10
    assert loss.measure(1.1 * u, u, measure).item() > 0.1


def test_without_data_ten_percent_more_is_a_residual_of_ten_percent() -> None:
    # The equation is linear and u is 0 on the boundary: A (1.1 u) - b = 0.1 b.
    _, u, measure, loss = solved(DARCY, 2)
    alone = loss.model_copy(update={"data_weight": 0.0})
    assert alone.measure(1.1 * u, u, measure).item() == pytest.approx(0.1, rel=1e-8)


def test_the_sum_is_the_data_loss_and_a_weight_times_the_residual() -> None:
    _, u, measure, loss = solved(DARCY, 1)
    data = RelativeL2Spec().measure(1.1 * u, u, measure).item()
    alone = loss.model_copy(update={"data_weight": 0.0}).measure(1.1 * u, u, measure).item()
    weighted = loss.model_copy(update={"weight": 0.25}).measure(1.1 * u, u, measure).item()
    assert weighted == pytest.approx(data + 0.25 * alone)


def test_the_derivative_through_the_sparse_matrices_is_that_of_the_formula() -> None:
    _, u, measure, loss = solved(DarcySpec(points=6), 2)
    bent = (u + 0.1 * torch.rand_like(u, generator=None)).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: loss.measure(p, u, measure), bent, fast_mode=True)


def trajectory(
    system: EvolvingSpec, records: int, dt: float, steps: int
) -> tuple[torch.Tensor, torch.Tensor, Measure]:
    """Return records of two samples, the first as given and the others as predicted, frames as channels."""
    problem = system.problem()
    step = ETDRK4Spec().build(problem, dt / steps)
    v = problem.to_spectral(system.initial(2, torch.Generator().manual_seed(0)))
    frames = [problem.to_physical(v)]
    for _ in range(records - 1):
        for _ in range(steps):
            v = step(v)
        frames.append(problem.to_physical(v))
    run = torch.stack(frames, dim=1)
    info = system.describe()
    names = tuple(info.variables)
    signature = Signature(info.axes, names, names, 1, records - 1, TimeAxis(records, dt))
    ones = torch.ones(records - 1)
    measure = Measure(
        info.axes,
        torch.ones(info.shape, dtype=torch.bool),
        ones,
        ones,
        signature=signature,
        given=run[:, :1],
    )
    return run[:, 1:].movedim(1, -2).flatten(-2), run, measure


FLOWS = {
    "burgers": (BurgersSpec(points=64, viscosity=0.02), 0.005),
    "kdv": (KdVSpec(points=64, delta=0.05, length=4.0), 0.005),
    "navier_stokes": (NavierStokesSpec(points=16), 0.1),
}


@pytest.mark.parametrize("name", list(FLOWS))
def test_a_trajectory_has_a_small_defect_and_frozen_fields_have_one_of_order_1(name: str) -> None:
    system, dt = FLOWS[name]
    target, run, measure = trajectory(system, 3, dt, 40)
    loss = PhysicsResidualSpec(system=system, data_weight=0, weight=1)
    exact = loss.measure(target, target, measure).item()
    frozen = loss.measure(torch.cat([run[:, 0]] * 2, dim=-1), target, measure).item()
    assert exact < 1e-3 * frozen
    assert frozen > 0.3


@pytest.mark.parametrize(("rule", "order"), [("hermite_simpson", 4), ("midpoint", 2)])
def test_defects_of_a_trajectory_fall_with_the_order_of_the_rule(rule: str, order: int) -> None:
    system = BurgersSpec(points=32, viscosity=0.01)

    def size(dt: float) -> float:
        _, run, _ = trajectory(system, 2, dt, 50)
        problem = system.problem()
        return float(defects(problem, problem.to_spectral(run), dt, rule).abs().max())

    assert math.log2(size(0.01) / size(0.005)) == pytest.approx(order, abs=0.3)


def test_the_derivative_through_the_defects_is_that_of_the_formula() -> None:
    system = NavierStokesSpec(points=8)
    target, _, measure = trajectory(system, 3, 0.1, 5)
    loss = PhysicsResidualSpec(system=system, order=0)
    noise = torch.randn(target.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    bent = (target + 0.1 * noise).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: loss.measure(p, target, measure), bent, fast_mode=True)


def test_a_measure_without_the_given_fields_is_refused() -> None:
    _, u, measure, loss = solved(DARCY, 1)
    with pytest.raises(ShapeMismatch, match="what the model was given"):
        loss.measure(u, u, replace(measure, given=None))


def test_systems_without_a_residual_and_other_grids_are_refused() -> None:
    square = tuple(Axis(name, 12, length=1.0) for name in ("y", "x"))
    info = FieldsInfo({"coefficient": "1", "u": "1"}, square, TimeAxis(1, ""))
    assert list(PhysicsResidualSpec(system=DARCY).check(info)) == []
    (problem,) = PhysicsResidualSpec(system=DarcySpec(points=20)).check(info)
    assert problem.path == ("system",)
    assert "(20, 20), the data have (12, 12)" in problem.message
    (problem, _) = PhysicsResidualSpec(system={"kind": "lorenz63"}).check(info)
    assert "no residual of 'lorenz63'" in problem.message


def test_maps_that_do_not_fix_the_residual_are_refused() -> None:
    loss = PhysicsResidualSpec(system=DARCY)
    info = DARCY.describe()
    fields = Signature(info.axes, ("coefficient",), ("u",), 1, 1, info.time, ahead=False)
    assert list(loss.faults(fields)) == []
    (problem,) = loss.faults(replace(fields, inputs=("other",)))
    assert "'coefficient' among what the model is given" in problem.message
    flow = NavierStokesSpec(points=16)
    step = Signature.of_dynamics(replace(flow.describe(), time=TimeAxis(9, 0.1)), 2)
    assert list(PhysicsResidualSpec(system=flow).faults(step)) == []
    (problem,) = PhysicsResidualSpec(system=flow).faults(replace(step, ahead=False))
    assert "evolves" in problem.message
    (problem,) = PhysicsResidualSpec(system=flow).faults(replace(step, time=TimeAxis(9, "P1D")))
    assert "equally spaced" in problem.message
