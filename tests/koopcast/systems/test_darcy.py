import math
from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse.linalg
import torch
from pydantic import ValidationError

from koopcast.random_fields.bumps import BumpsSpec
from koopcast.systems.darcy import DarcySpec
from koopcast.systems.square import axes


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def solve(system, a, rhs):
    x = scipy.sparse.linalg.spsolve(system.problem({"coefficient": a}, {}).matrix.tocsc(), rhs)
    return system.solution({"coefficient": a}, x)["u"]


@pytest.mark.parametrize("averaging", ["harmonic", "arithmetic"])
def test_darcy_is_of_second_order_where_the_coefficient_is_smooth(averaging):
    # a = exp(x + 2y), u = sin πx sin 2πy: f = a (5π² u - u_x - 2 u_y).
    pi, errors = math.pi, []
    for points in (17, 33, 65):
        y, x = np.meshgrid(np.linspace(0, 1, points), np.linspace(0, 1, points), indexing="ij")
        a, u = np.exp(x + 2 * y), np.sin(pi * x) * np.sin(2 * pi * y)
        u_x = pi * np.cos(pi * x) * np.sin(2 * pi * y)
        u_y = 2 * pi * np.sin(pi * x) * np.cos(2 * pi * y)
        f = a * (5 * pi**2 * u - u_x - 2 * u_y)
        system = DarcySpec(points=points, averaging=averaging)
        errors.append(abs(solve(system, a, f[1:-1, 1:-1].ravel()) - u).max())
    assert [math.log2(a / b) for a, b in pairwise(errors)] == pytest.approx([2, 2], abs=0.1)


def test_a_unit_source_in_a_homogeneous_medium_gives_the_known_height_in_the_middle():
    # -Δu = 1 on the unit square: u(1/2, 1/2) = 0.0736713532...; second order leaves 1e-5 on 65 nodes.
    given = {"coefficient": np.full((65, 65), 2.0)}
    system = DarcySpec(source=2.0)
    u = solve(system, given["coefficient"], system.problem(given, {}).rhs)
    assert u[32, 32] == pytest.approx(0.0736713532, abs=2e-5)
    varied = system.problem(given, {"source": 0.01})
    assert (varied.rhs == 0.01).all()


def test_fno_coefficients_have_two_levels_by_the_sign_of_a_field_that_does_not_depend_on_the_grid():
    system = DarcySpec(points=33)
    a = system.draw(generator(), {})["coefficient"]
    field = system.coefficient.field.draw(axes(33), 1, generator())[0].numpy()
    assert set(np.unique(a)) == {3.0, 12.0}
    assert ((a == 12.0) == (field >= 0)).all()
    fine = DarcySpec(points=65).draw(generator(), {})["coefficient"][::2, ::2]
    assert (fine == a).mean() > 0.97


def test_pdebench_coefficients_are_cut_at_the_mean_of_their_own_sample():
    system = DarcySpec(points=33, coefficient="pdebench")
    for seed in range(5):
        field = BumpsSpec().draw(axes(33), 1, generator(seed))[0].numpy()
        a = system.draw(generator(seed), {})["coefficient"]
        assert (a == np.where(field > field.mean(), 1.0, 0.1)).all()


def test_lognormal_and_few_parameter_coefficients_have_the_logarithms_they_state():
    system = DarcySpec.model_validate({"points": 33, "coefficient": {"kind": "lognormal", "amplitude": 2}})
    field = system.coefficient.field.draw(axes(33), 1, generator())[0].numpy()
    assert np.allclose(np.log(system.draw(generator(), {})["coefficient"]), 2 * field)
    few = DarcySpec(points=33, coefficient="few_parameters")
    logs = np.log(np.stack([few.draw(generator(seed), {})["coefficient"] for seed in range(20)]))
    assert np.linalg.svd(logs.reshape(20, -1), compute_uv=False)[3:].max() < 1e-12
    assert np.array_equal(
        DarcySpec(points=65, coefficient="few_parameters").draw(generator(), {})["coefficient"][::2, ::2],
        few.draw(generator(), {})["coefficient"],
    )


def test_the_skr_stencil_has_the_neighbours_own_coefficients_in_a_row():
    a = np.arange(1.0, 26).reshape(5, 5)
    row = DarcySpec(points=5, stencil="skr").problem({"coefficient": a}, {}).matrix.toarray()[4]
    # The middle node has a = 13, with 8, 12, 14 and 18 around it; h = 1/4.
    assert row == pytest.approx([0, -8 * 16, 0, -12 * 16, 4 * 13 * 16, -14 * 16, 0, -18 * 16, 0])


@pytest.mark.parametrize(
    "options",
    [
        {"points": 3},
        {"coefficient": {"kind": "fno_threshold", "levels": [12, 0]}},
        {"coefficient": {"kind": "lognormal", "field": {"kind": "cosine_gaussian", "alpha": 1}}},
        {"averaging": "geometric"},
    ],
)
def test_darcy_refuses_options_without_a_meaning(options):
    with pytest.raises(ValidationError):
        DarcySpec.model_validate(options)
