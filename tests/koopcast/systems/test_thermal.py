import numpy as np
import pytest
import scipy.sparse.linalg
import torch
from pydantic import ValidationError

from koopcast.systems.thermal import ThermalSpec


def solve(parameters=None, **options):
    system = ThermalSpec(**options)
    given = system.draw(torch.Generator().manual_seed(0), parameters or {})
    problem = system.problem(given, parameters or {})
    x = scipy.sparse.linalg.spsolve(problem.matrix.tocsc(), problem.rhs)
    return system.solution(given, x)["u"], problem, x


def test_heat_that_only_leaves_makes_no_place_hotter_than_the_left_edge_or_colder_than_the_right():
    u, _, _ = solve()
    assert np.nanmax(u) == 100.0
    assert (u[:, 0] == 100.0).all()
    assert np.nanmin(u) == u[:, -1].min()
    assert np.nanmax(u[:, 1:]) < 100.0


def test_without_flux_the_temperature_is_that_of_the_left_edge():
    u, _, _ = solve({"temperature": 30.0, "flux": 0.0})
    assert np.allclose(u[ThermalSpec().mask()], 30.0, atol=1e-10)


def test_the_heat_through_any_line_across_the_plate_is_what_leaves_at_the_right():
    # Fluxes of whole links are (u_i - u_j); those along the upper and lower edge count half. In the middle
    # no link crosses the slot, and those along its sides count half too.
    u, _, _ = solve()
    h = 1 / 40
    for column in (0, 5, 20, 35):
        drop = u[:, column] - u[:, column + 1]
        drop[[0, -1]] /= 2
        if column == 20:
            drop[[16, 48]] /= 2
            assert np.isnan(drop[17:48]).all()
        assert np.nansum(drop) * h / h == pytest.approx(100 * 1.6, rel=1e-10)


def test_temperature_and_flux_superpose_and_the_plate_is_symmetric():
    both, heat, flow = (
        solve({"temperature": temperature, "flux": flux})[0]
        for temperature, flux in ((70.0, -20.0), (70.0, 0.0), (0.0, -20.0))
    )
    assert np.allclose(both, heat + flow, atol=1e-10, equal_nan=True)
    assert np.allclose(both, both[::-1], atol=1e-10, equal_nan=True)


def test_the_energy_rises_with_nested_grids_at_the_rate_of_corners_of_270_degrees():
    # Five-point differences are linear elements here: the work of the flux grows towards its limit, and the
    # singularity r^(2/3) at the corners of the slot leaves h^(4/3).
    works = [
        problem.rhs @ x for _, problem, x in (solve({"temperature": 0.0}, points=n) for n in (21, 41, 81))
    ]
    gains = np.diff(works)
    assert (gains > 0).all()
    assert np.log2(gains[0] / gains[1]) == pytest.approx(4 / 3, abs=0.15)


def test_the_mask_leaves_out_the_inside_of_the_slot():
    mask = ThermalSpec().mask()
    y, x = np.meshgrid(*ThermalSpec().coordinates().values(), indexing="ij")
    assert (x.min(), x.max(), y.min(), y.max()) == (-0.5, 0.5, -0.8, 0.8)
    inside = (abs(x) < 0.05 - 1e-9) & (abs(y) < 0.4 - 1e-9)
    assert (mask == ~inside).all()
    assert (~mask).sum() == 3 * 31


def test_a_grid_whose_lines_miss_the_slot_is_refused():
    with pytest.raises(ValidationError, match="take 41 or 61"):
        ThermalSpec(points=50)
