import math
from itertools import pairwise

import pytest
import torch
from pydantic import ValidationError

from koopcast.dynamics import Setting
from koopcast.integrators.rk4 import RK4Spec
from koopcast.systems.quasi_geostrophic import QuasiGeostrophicSpec, arakawa, framed, laplacian

NOTHING = {"rossby": 0.0, "biharmonic_friction": 0.0, "wind": 0.0}


def system(points=17, **options):
    return QuasiGeostrophicSpec.model_validate({"points": points, **options})


def rate(spec, psi, setting=None):
    problem = spec.problem(setting) if setting else spec.problem()
    return problem.function(psi.flatten(-2)).reshape(psi.shape)


def vorticity_rate(spec, psi):
    """q_t at inner nodes, from ψ_t by q = Δψ - Fψ."""
    psi_rate = rate(spec, psi)
    return laplacian(psi_rate, 1 / (spec.points - 1)) - spec.froude * psi_rate[..., 1:-1, 1:-1]


def numbers(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_arakawa_is_the_mean_of_the_three_differences_of_its_definition():
    # J⁺⁺ of centred differences, J⁺ˣ and Jˣ⁺ of products at neighbours and corners (Arakawa 1966, 36-38).
    a, b, h = numbers(9, 11), numbers(9, 11, seed=1), 0.3

    def at(f, east, north):
        return f.roll((-north, -east), (0, 1))

    dx, dy = (lambda f: at(f, 1, 0) - at(f, -1, 0)), (lambda f: at(f, 0, 1) - at(f, 0, -1))
    plus_plus = dx(a) * dy(b) - dy(a) * dx(b)
    plus_cross = dx(a * dy(b)) - dy(a * dx(b))
    cross_plus = dy(b * dx(a)) - dx(b * dy(a))
    mean = (plus_plus + plus_cross + cross_plus) / 3 / (4 * h**2)
    assert torch.allclose(arakawa(a, b, h), mean[1:-1, 1:-1], atol=1e-12)


def test_arakawa_has_second_order_and_the_sign_of_ax_by_minus_ay_bx():
    errors = []
    for points in (17, 33, 65):
        place = torch.linspace(0, 1, points, dtype=torch.float64)
        y, x = place[:, None], place[None, :]
        a, b = torch.sin(3 * x + y), torch.cos(x - 2 * y)
        exact = 3 * torch.cos(3 * x + y) * 2 * torch.sin(x - 2 * y)
        exact = exact + torch.cos(3 * x + y) * torch.sin(x - 2 * y)
        errors.append((arakawa(a, b, 1 / (points - 1)) - exact[1:-1, 1:-1]).abs().max().item())
    assert [math.log2(p / q) for p, q in pairwise(errors)] == pytest.approx([2, 2], abs=0.15)


def test_advection_keeps_energy_and_enstrophy_in_a_closed_basin():
    psi, q = framed(numbers(3, 15, 15)), framed(numbers(3, 15, 15, seed=1))
    J = arakawa(psi, q, 1 / 16)
    size = J.abs().mean()
    for field in (psi, q):
        assert ((field[:, 1:-1, 1:-1] * J).mean(dim=(1, 2)).abs() / size).max() < 1e-14


def test_the_inversion_of_potential_vorticity_is_exact_to_round_off():
    # Driven by wind alone, q_t is the curl of the wind: -2π sin 2πy.
    for points in (10, 20, 129):
        spec = system(points, **NOTHING | {"wind": 1.0})
        y = torch.linspace(0, 1, points, dtype=torch.float64)[1:-1]
        curl = -2 * math.pi * torch.sin(2 * math.pi * y)[:, None].expand(-1, points - 2)
        back = vorticity_rate(spec, torch.zeros(points, points, dtype=torch.float64))
        assert torch.allclose(back, curl, atol=1e-11)


def test_a_plane_wave_on_the_beta_plane_moves_as_its_slope_to_the_east():
    # q_t = -ψ_x; the centred slope of cos(kx + my) is -sin(kh)/h sin(kx + my).
    points, k, m = 33, 12.0, 7.0
    spec, h = system(points, **NOTHING), 1 / 32
    place = torch.linspace(0, 1, points, dtype=torch.float64)
    phase = k * place[None, :] + m * place[:, None]
    psi = framed(torch.cos(phase)[1:-1, 1:-1])
    expected = math.sin(k * h) / h * torch.sin(phase)
    inside = vorticity_rate(spec, psi)[1:-1, 1:-1]
    assert torch.allclose(inside, expected[2:-2, 2:-2], atol=1e-10)


@pytest.mark.parametrize(
    ("friction", "power"), [("bottom_friction", 1), ("lateral_friction", 2), ("biharmonic_friction", 3)]
)
def test_friction_damps_a_sine_by_a_power_of_its_eigenvalue(friction, power):
    # With Δψ = -λψ and q = -(λ + F) ψ: ψ_t = -c λ^p/(λ + F) ψ.
    points, h = 17, 1 / 16
    place = torch.linspace(0, 1, points, dtype=torch.float64)
    psi = torch.sin(3 * math.pi * place)[:, None] * torch.sin(2 * math.pi * place)
    eigenvalue = 4 / h**2 * (math.sin(1.5 * math.pi * h) ** 2 + math.sin(math.pi * h) ** 2)
    still = system(points, **NOTHING)
    damped = system(points, **NOTHING | {friction: 1e-3})
    expected = -1e-3 * eigenvalue**power / (eigenvalue + 1600) * psi
    change = rate(damped, psi) - rate(still, psi)
    assert torch.allclose(change, expected, atol=1e-11 * expected.abs().max().item())


def test_all_terms_together_are_those_of_the_equation_and_boundaries_stay_zero():
    spec = system(17, bottom_friction=0.1, lateral_friction=1e-4, biharmonic_friction=1e-8)
    psi, h = framed(numbers(2, 15, 15)), 1 / 16
    zeta = laplacian(psi, h)
    q = framed(zeta) - 1600 * psi
    twice = laplacian(framed(zeta), h)
    y = torch.linspace(0, 1, 17, dtype=torch.float64)[1:-1, None]
    slope = (psi[:, 1:-1, 2:] - psi[:, 1:-1, :-2]) / (2 * h)
    expected = -slope - 1e-5 * arakawa(psi, q, h) - 0.1 * zeta + 1e-4 * twice
    expected = expected - 1e-8 * laplacian(framed(twice), h) - 2 * math.pi * torch.sin(2 * math.pi * y)
    assert torch.allclose(vorticity_rate(spec, psi), expected, rtol=1e-9, atol=1e-8)
    frame = rate(spec, psi)
    frame[:, 1:-1, 1:-1] = 0
    assert frame.abs().max() == 0


def test_without_wind_and_friction_energy_is_kept_as_far_as_time_steps_keep_it():
    # -Σ ψ q is Σ |∇ψ|² + F ψ². No term changes it; rk4 does, with the fourth power of the step or a higher.
    spec = system(17, rossby=0.3, biharmonic_friction=0.0, wind=0.0)
    start = spec.initial(2, torch.Generator().manual_seed(0))[..., 0]

    def energy(psi):
        q = laplacian(psi, 1 / 16) - 1600 * psi[:, 1:-1, 1:-1]
        return -(psi[:, 1:-1, 1:-1] * q).sum(dim=(1, 2))

    inner = start[:, 1:-1, 1:-1]
    assert ((inner * vorticity_rate(spec, start)).sum(dim=(1, 2)).abs() / energy(start)).max() < 1e-14
    losses = []
    for count in (40, 80):
        step, state = RK4Spec().build(spec.problem(), 2.0 / count), start.flatten(1)
        for _ in range(count):
            state = step(state)
        losses.append((energy(state.reshape(start.shape)) / energy(start) - 1).abs().max().item())
    assert losses[0] < 1e-4
    assert losses[0] / losses[1] > 14


def test_nodes_lie_on_both_ends():
    places = system(17).coordinates()
    assert torch.equal(places["y"], torch.arange(17, dtype=torch.float64) / 16)


def test_initial_fields_vanish_at_the_sides_have_their_amplitude_and_do_not_depend_on_the_grid():
    coarse, fine = (system(points).initial(2000, torch.Generator().manual_seed(5)) for points in (17, 33))
    assert torch.allclose(fine[:, ::2, ::2], coarse, atol=1e-12)
    assert coarse[:, [0, -1]].abs().max() < 1e-13
    squares = coarse[:, :-1, :-1].square().mean(dim=(1, 2, 3))
    assert abs(squares.mean() - 1) < 5 * squares.std() / math.sqrt(2000)
    with pytest.raises(ValidationError, match=r"initial_state.modes: 8 is above 7"):
        system(9)


def test_parameters_may_differ_from_sample_to_sample_and_single_precision_is_kept():
    psi = framed(numbers(2, 15, 15))
    values = {"froude": [1600.0, 400.0], "rossby": [1e-5, 1e-4], "wind": [1.0, 0.5]}
    parameters = {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}
    together = rate(system(), psi, Setting(parameters=parameters))
    for row in range(2):
        alone = system(**{name: value[row] for name, value in values.items()})
        assert torch.allclose(rate(alone, psi[row]), together[row], rtol=1e-12)
    single = rate(system(), psi.float(), Setting(dtype=torch.float32, parameters=parameters))
    assert single.dtype == torch.float32
    assert (single - together).abs().max() < 1e-3 * together.abs().max()


@pytest.mark.slow
def test_the_spun_up_basin_has_two_gyres_of_the_published_strength():
    # Sakov and Oke 2008 and DAPPER show ψ between about -30 and 30; the gyres turn against each other.
    spec = system(65, biharmonic_friction=2e-11)
    state = spec.initial(1, torch.Generator().manual_seed(0)).flatten(1)
    step, count = RK4Spec().build(spec.problem(), 2.5), 1400
    mean = torch.zeros(65, 65, dtype=torch.float64)
    for index in range(count):
        state = step(state)
        if index >= count // 2:
            mean += state.reshape(65, 65) / (count - count // 2)
    assert 15 < state.abs().max() < 60
    assert mean[:32].mean() * mean[33:].mean() < 0
