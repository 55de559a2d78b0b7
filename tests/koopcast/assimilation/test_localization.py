import math

import pytest
import torch

from koopcast.assimilation.localization import GaspariCohnSpec, GaussSpec, StepSpec, Taper
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.numerics.geometry import Domain, implied_coordinates


def weight(distance, **options):
    return GaspariCohnSpec(**options).weight(torch.tensor(distance, dtype=torch.float64))


def test_gaspari_cohn_has_the_published_values():
    # In r = distance / c: 1 at 0; at 1/2 1 - 5/12 + 5/64 + 1/32 - 1/128 = 263/384; 5/24 at 1;
    # at 3/2 4 - 15/2 + 15/4 + 135/64 - 81/32 + 81/128 - 4/9 = 19/1152; 0 from 2 on.
    values = weight([0, 0.5, 1.0, 1.5, 2.0, 7.0], radius=1.0, radius_kind="half_support")
    expected = [1, 263 / 384, 5 / 24, 19 / 1152, 0, 0]
    assert values.tolist() == pytest.approx(expected, abs=1e-14)


def test_the_gaussian_equivalent_radius_is_where_the_taper_is_near_exp_minus_one_half():
    # r² = 3/10: 1 - 1/2 + 5/8 r³ + 1/2 r⁴ - 1/4 r⁵ with r³ = 0.164317, r⁴ = 0.09, r⁵ = 0.049295.
    assert float(weight([4.0], radius=4.0)[0]) == pytest.approx(0.635374, abs=1e-6)
    assert float(weight([4.0], radius=4.0)[0]) == pytest.approx(math.exp(-0.5), rel=0.05)
    assert GaspariCohnSpec(radius=4.0).half_support() == pytest.approx(1.8257 * 4, rel=1e-4)


def test_radius_kinds_name_the_same_taper():
    distance = torch.linspace(0, 12, 50).tolist()
    c = 3.0
    half = weight(distance, radius=c, radius_kind="half_support")
    assert torch.allclose(half, weight(distance, radius=2 * c, radius_kind="support"))
    assert torch.allclose(half, weight(distance, radius=c * 0.3**0.5, radius_kind="gaussian_equivalent"))


def test_the_taper_falls_smoothly_from_one_to_zero():
    r = torch.linspace(0, 2.5, 25_001, dtype=torch.float64)
    values = GaspariCohnSpec(radius=1.0, radius_kind="half_support").weight(r)
    slope = values.diff() / r.diff()
    assert (slope <= 1e-9).all()
    assert slope.diff().abs().max() < 1e-3  # no jump in the value or the slope at r = 1 and r = 2
    assert not values[r >= 2].any()


def test_a_taper_matrix_on_a_ring_is_a_circulant_covariance():
    ring = Axis("state", 40, "index", periodic=True)
    taper = Taper([GaspariCohnSpec(radius=4.0)], Domain((ring,), (implied_coordinates(ring),)), 1)
    index = torch.arange(40)[None]
    rho = taper.to_points(index)[0]
    assert torch.equal(rho, taper.to_obs(index)[0])
    assert torch.allclose(rho, rho.roll((1, 1), (0, 1)))
    assert rho[0, 1] == rho[0, 39]
    # Weights below 1e-3 are dropped, which moves eigenvalues by no more than their sum.
    assert torch.linalg.eigvalsh(rho).min() > -4e-3


def test_gauss_and_step_have_hand_values():
    distance = torch.tensor([0.0, 2.0, 2.5, 4.0], dtype=torch.float64)
    assert GaussSpec(radius=2.0).weight(distance).tolist() == pytest.approx(
        [1, math.exp(-0.5), math.exp(-0.78125), math.exp(-2)]
    )
    assert StepSpec(radius=2.0).weight(distance).tolist() == [1, 1, 0, 0]


def test_a_gaussian_taper_ends_where_it_is_negligible():
    line = Axis("x", 20)
    taper = Taper([GaussSpec(radius=2.0)], Domain((line,), (implied_coordinates(line),)), 1)
    weights = taper.to_points(torch.tensor([[0]]))[0, :, 0]
    # exp(-d²/8) falls below a thousandth at d = √(8 log 1000) = 7.43.
    assert (weights[:8] > 0).all()
    assert not weights[8:].any()


def test_on_the_sphere_distances_cross_the_date_line_and_the_pole():
    latitude = Axis("latitude", 3, "latitude")
    longitude = Axis("longitude", 4, "longitude", periodic=True)
    places = torch.tensor([-80.0, 0.0, 80.0]).double(), torch.tensor([-175.0, -90.0, 5.0, 175.0]).double()
    taper = Taper([StepSpec(radius=21.0)], Domain((latitude, longitude), places), 1)
    # From (0, -175) the point (0, 175) is 10 degrees away, from (80, -175) the point (80, 5) is 20, over the
    # pole, and (80, 175) less than 2.
    near = taper.to_points(torch.tensor([[4, 8]]))[0].mT.bool()
    assert near[0].nonzero()[:, 0].tolist() == [4, 7]
    assert near[1].nonzero()[:, 0].tolist() == [8, 9, 10, 11]


def test_localization_without_meaning_is_refused_by_name():
    scattered = FieldsInfo({"u": "1"}, (Axis("point", 9),), TimeAxis(3, 1.0))
    assert [problem.path for problem in GaspariCohnSpec().check(scattered)] == [()]
    ring = FieldsInfo({"u": "1"}, (Axis("state", 9, "index", True),), TimeAxis(3, 1.0))
    assert not list(GaspariCohnSpec().check(ring))


def test_the_reach_of_a_type_is_a_factor_on_its_radius():
    domain = Domain((Axis("x", 12, periodic=True),), (torch.arange(12, dtype=torch.float64),))
    index = torch.tensor([[2, 7]])
    near, far = GaspariCohnSpec(radius=1.5), GaspariCohnSpec(radius=3.0)
    mixed = Taper([near], domain, 1, torch.tensor([1.0, 2.0]).double())
    points = mixed.to_points(index)
    assert torch.equal(points[..., 0], Taper([near], domain, 1).to_points(index)[..., 0])
    assert torch.equal(points[..., 1], Taper([far], domain, 1).to_points(index)[..., 1])
    pairs = mixed.to_obs(index)
    assert torch.equal(pairs, pairs.mT)
    assert pairs[0].diagonal().tolist() == [1.0, 1.0]
