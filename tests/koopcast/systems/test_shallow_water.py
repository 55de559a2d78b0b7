import math
from itertools import pairwise

import pytest
import torch
from pydantic import ValidationError
from scipy.optimize import brentq

from koopcast.dynamics import Setting
from koopcast.integrators.ssprk3 import SSPRK3Spec
from koopcast.systems.shallow_water import ShallowWaterSpec, half_slopes, hll_flux


def system(points=32, **options):
    return ShallowWaterSpec.model_validate({"points": points, **options})


def integrate(spec, fields, time, setting=None, courant=1.0):
    count = max(1, math.ceil(time / (courant * spec.default_time_step())))
    problem = spec.problem(setting) if setting else spec.problem()
    step, state = SSPRK3Spec().build(problem, time / count), fields.flatten(1)
    for _ in range(count):
        state = step(state)
    return state.reshape(fields.shape)


def dam_break(x, time, left, right, g=1.0):
    """The exact depth and velocity of two bodies of water at rest, left deeper, with the wall at x = 0 gone.

    A rarefaction runs to the left, u + 2c = 2 c_l; a shock to the right with
    u = (h - h_r) √(g (h + h_r)/(2 h h_r)).
    """
    sound = math.sqrt(g * left)

    def jump(h):
        return (h - right) * math.sqrt(g * (h + right) / (2 * h * right))

    h = brentq(lambda h: 2 * (sound - math.sqrt(g * h)) - jump(h), right, left, xtol=1e-14)
    u, shock = jump(h), h * jump(h) / (h - right)
    s = x / time
    fan = (2 * sound - s) ** 2 / (9 * g)
    depth = torch.where(s < -sound, left, torch.where(s < u - math.sqrt(g * h), fan, h))
    depth = torch.where(s > shock, right, depth)
    speed = torch.where(s > shock, 0.0, 2 * (sound - (g * depth).sqrt()))
    return depth, speed


def trench(points, left=2.0, right=1.0, **options):
    """A dam along x = 0, the same in all rows."""
    spec = system(points, **options)
    x = spec.coordinates()["x"]
    fields = torch.zeros(1, points, points, 3, dtype=torch.float64)
    fields[..., 0] = torch.where(x < 0, left, right)
    return spec, fields


@pytest.mark.parametrize(("reconstruction", "least_order"), [("constant", 0.55), ("linear", 0.8)])
def test_a_broken_dam_converges_to_the_exact_rarefaction_and_shock(reconstruction, least_order):
    # In the mean a shock costs one cell: first order at best, less at the corners of the fan.
    errors = []
    for points in (16, 32, 64):
        spec, fields = trench(points, reconstruction=reconstruction)
        row = slice(points // 2, points // 2 + 8)
        fields = integrate(spec, fields, 0.8)[0, row]
        depth, speed = dam_break(spec.coordinates()["x"], 0.8, 2.0, 1.0)
        assert (fields - fields[:1]).abs().max() < 1e-13
        assert fields[..., 2].abs().max() < 1e-13
        errors.append(
            float(((fields[0, :, 0] - depth).abs() + (fields[0, :, 1] - depth * speed).abs()).mean())
        )
    assert all(math.log2(a / b) > least_order for a, b in pairwise(errors))
    assert errors[-1] < {"constant": 0.09, "linear": 0.025}[reconstruction]


def test_the_same_dam_along_the_other_axis_is_its_transpose():
    spec, fields = trench(32)
    turned = fields.transpose(1, 2)
    after = integrate(spec, fields, 0.5)
    assert torch.equal(integrate(spec, turned, 0.5), after.transpose(1, 2)[..., [0, 2, 1]])


def hump(place):
    return 1 + 0.1 * torch.exp(-8 * place**2)


def test_linear_reconstruction_is_of_second_order_on_a_smooth_wave():
    # A simple wave to the right on deep water, u = 2 (√h - √h₀): before it breaks, √h moves with 3√h - 2√h₀.
    errors, time = [], 0.3
    for points in (48, 96):
        spec = system(points, length=4.0)
        x = spec.coordinates()["x"]
        place = x.clone()
        for _ in range(200):
            place = x - time * (3 * hump(place).sqrt() - 2)
        start, exact = (
            torch.stack((h, h * 2 * (h.sqrt() - 1), 0 * h), dim=-1).expand(1, points, points, 3)
            for h in (hump(x), hump(place))
        )
        errors.append(float((integrate(spec, start, time) - exact).abs().mean()))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.35)


def test_mass_is_kept_to_round_off_until_waves_leave_and_between_walls_always():
    open_sides, walls = system(20), system(20, boundary="wall")
    fields = open_sides.initial(2, torch.Generator().manual_seed(0))
    for spec, time in ((open_sides, 0.8), (walls, 4.0)):
        after = integrate(spec, fields, time)
        assert (after[..., 0].mean(dim=(1, 2)) - fields[..., 0].mean(dim=(1, 2))).abs().max() < 1e-13
        assert (after - fields)[..., 0].abs().max() > 0.1
    assert (integrate(open_sides, fields, 3.0)[..., 0].mean() - fields[..., 0].mean()).abs() > 1e-3
    assert set(walls.invariants(fields)) == {"mean_depth"}
    assert open_sides.invariants(fields) == {}


def test_a_round_dam_stays_symmetric_under_the_eight_turns_of_the_square():
    fields = system(40).initial(1, torch.Generator().manual_seed(1))
    after = integrate(system(40), fields, 1.0)[0]
    h, hu, hv = after.unbind(-1)
    assert torch.allclose(h, h.T, atol=1e-12)
    assert torch.allclose(h, h.flip(0), atol=1e-12)
    assert torch.allclose(h, h.flip(1), atol=1e-12)
    assert torch.allclose(hu, hv.T, atol=1e-12)
    assert torch.allclose(hu, -hu.flip(1), atol=1e-12)


def test_still_water_stays_still():
    fields = torch.zeros(1, 16, 16, 3, dtype=torch.float64)
    fields[..., 0] = 1.7
    for boundary in ("outflow", "wall"):
        assert system(16, boundary=boundary).problem().function(fields.flatten(1)).abs().max() < 1e-13


@pytest.mark.parametrize("reconstruction", ["constant", "linear"])
def test_depths_stay_positive_where_water_falls_onto_a_bed_that_is_nearly_dry(reconstruction):
    # The front on a dry bed runs at 2√(g h): shorter steps by that.
    spec = system(24, outer_height=1e-5, reconstruction=reconstruction, boundary="wall")
    fields = spec.initial(2, torch.Generator().manual_seed(2))
    after = integrate(spec, fields, 2.0, courant=0.5)
    assert torch.isfinite(after).all()
    assert after[..., 0].min() > 0
    assert (after[..., 0].mean(dim=(1, 2)) / fields[..., 0].mean(dim=(1, 2)) - 1).abs().max() < 1e-12


def test_the_flux_between_equal_states_is_that_of_the_equation_and_supersonic_ones_go_one_way():
    # (h, u, v) = (2, 3, 5), g = 4: (h u, h u² + g h²/2, h u v) = (6, 18 + 8, 30).
    state = torch.tensor([2.0, 3.0, 5.0], dtype=torch.float64)
    expected = torch.tensor([6.0, 26.0, 30.0], dtype=torch.float64)
    assert torch.allclose(hll_flux(state, state, 4.0), expected)
    fast = torch.tensor([2.0, 30.0, 5.0], dtype=torch.float64)
    behind = torch.tensor([1.0, 20.0, -1.0], dtype=torch.float64)
    assert torch.allclose(hll_flux(fast, behind, 4.0), hll_flux(fast, fast, 4.0))


def test_slopes_are_central_where_smooth_and_vanish_at_extrema():
    # Differences 1, 1.5: central 1.25. Differences 1, 10: twice the smaller. 3, -2: an extremum.
    for values, slope in (((0, 1, 2.5), 1.25), ((0, 1, 11), 2.0), ((0, 3, 1), 0.0), ((0, -1, -2.5), -1.25)):
        assert half_slopes(torch.tensor(values, dtype=torch.float64)).item() == slope / 2


def test_gravity_may_differ_from_sample_to_sample_and_single_precision_is_kept():
    fields = system().initial(2, torch.Generator().manual_seed(3))
    values = torch.tensor([0.5, 1.0], dtype=torch.float64)
    together = integrate(system(), fields, 0.5, Setting(parameters={"gravity": values}))
    count = math.ceil(0.5 / system().default_time_step())
    alone = SSPRK3Spec().build(system(gravity=0.5).problem(), 0.5 / count)
    state = fields[:1].flatten(1)
    for _ in range(count):
        state = alone(state)
    assert torch.allclose(state, together[:1].flatten(1), atol=1e-13)
    single = integrate(
        system(), fields.float(), 0.5, Setting(dtype=torch.float32, parameters={"gravity": values})
    )
    assert single.dtype == torch.float32
    assert (single - together).abs().max() < 1e-4


def test_radii_follow_their_law_and_the_default_step_is_that_of_pdebench_halved():
    # 100 records to t = 1 are 0.01 apart.
    assert system(128).default_time_step() == 0.005
    fields = system(128).initial(60, torch.Generator().manual_seed(4))
    assert set(fields[..., 0].unique().tolist()) == {1.0, 2.0}
    radius = ((fields[..., 0] - 1).sum(dim=(1, 2)) * (5 / 128) ** 2 / math.pi).sqrt()
    assert 0.28 < radius.min() < 0.34
    assert 0.66 < radius.max() < 0.72
    with pytest.raises(ValidationError, match=r"radius: a law between 1 and 3 leaves 0 to 2\.5"):
        system(radius=[1.0, 3.0])
