"""Maps of circle, torus and disc: exact orbits, invariant measures, exponents, and the adversarial pair."""

import cmath
import math

import pytest
import torch

from koopcast.dynamics import Flow, Setting
from koopcast.errors import InvalidInput
from koopcast.systems.annulus_shear import AnnulusShearSpec
from koopcast.systems.cat_map import CatMapSpec
from koopcast.systems.circle_doubling import CircleDoublingSpec
from koopcast.systems.circle_rotation import CircleRotationSpec

MAPS = [
    AnnulusShearSpec(),
    AnnulusShearSpec(sheared=True),
    CatMapSpec(),
    CircleDoublingSpec(),
    CircleRotationSpec(),
]


def advanced(system, state, time):
    problem = system.problem()
    assert isinstance(problem, Flow)
    return problem.advance(state, float(time))


def circle(*angles):
    theta = torch.tensor(angles, dtype=torch.float64)
    return torch.stack((theta.cos(), theta.sin()), dim=-1).flatten(-2)


def angle(state):
    return torch.atan2(state[..., 1::2], state[..., ::2])


def start(system, count, seed=1):
    return system.initial(count, torch.Generator().manual_seed(seed))[..., 0]


@pytest.mark.parametrize("system", MAPS)
def test_iterations_compose_and_are_whole(system):
    state = start(system, 5)
    assert state.shape == (5, *system.describe().shape)
    twice = advanced(system, advanced(system, state, 1.0), 2.0)
    assert torch.allclose(twice, advanced(system, state, 3.0), atol=1e-14)
    assert torch.equal(advanced(system, state, 0.0), state)
    with pytest.raises(InvalidInput, match=r"0\.5 is not a whole number of iterations .* set dt to 1"):
        advanced(system, state, 0.5)


@pytest.mark.parametrize("power", [1, 3, 10])
def test_doubling_takes_a_dyadic_angle_to_0_after_as_many_iterations_as_it_has_bits(power):
    odd = 2 * torch.arange(2 ** (power - 1), dtype=torch.float64) + 1
    theta = 2 * math.pi * odd / 2**power
    end = advanced(CircleDoublingSpec(), torch.stack((theta.cos(), theta.sin()), dim=-1), power)
    # Rounding doubles with every iteration.
    assert torch.allclose(end, circle(0.0).expand_as(end), atol=2**power * 1e-15)
    before = advanced(CircleDoublingSpec(), torch.stack((theta.cos(), theta.sin()), dim=-1), power - 1)
    assert torch.allclose(before, circle(math.pi).expand_as(before), atol=2**power * 1e-15)


def test_doubling_goes_through_the_cycle_of_a_third():
    third = 2 * math.pi / 3
    assert torch.allclose(advanced(CircleDoublingSpec(), circle(third), 1), circle(2 * third), atol=1e-15)
    assert torch.allclose(advanced(CircleDoublingSpec(), circle(third), 2), circle(third), atol=1e-14)


def test_doubling_stays_uniform_long_after_the_bits_of_an_angle_are_used_up():
    count = 4000
    state = start(CircleDoublingSpec(), count)
    end = advanced(CircleDoublingSpec(), state, 300)
    assert torch.allclose(end.square().sum(1), torch.ones(count).double(), atol=1e-14)
    theta = angle(end)[:, 0]
    for wave in (1, 2, 3):
        # A mean of n independent unit phases has the size 1/√n.
        assert float(torch.polar(torch.ones(count).double(), wave * theta).mean().abs()) < 4 / count**0.5
    bits = theta / (2 * math.pi)
    for _ in range(110):
        bits = (2 * bits) % 1
    assert bits.abs().max() == 0


def test_rotation_has_its_exact_solution_and_spectrum():
    system = CircleRotationSpec(angle=0.7)
    state = start(system, 6)
    assert torch.allclose(
        advanced(system, state, 40), system.exact(state[..., None], 40.0)[..., 0], atol=1e-13
    )
    z, w = (torch.polar(torch.ones(6).double(), angle(x)[:, 0]) for x in (state, advanced(system, state, 1)))
    for k, eigenvalue in zip(range(-3, 4), system.eigenvalues(3).tolist(), strict=True):
        assert torch.allclose(w**k, eigenvalue * z**k, atol=1e-13)
    assert eigenvalue == pytest.approx(cmath.exp(2.1j))
    varied = system.problem(Setting(parameters={"angle": torch.tensor([0.7, 0.2]).double()}))
    turned = angle(varied.advance(circle(0.1).expand(2, 2), 1.0))[:, 0]
    assert turned.tolist() == pytest.approx([0.8, 0.3])


def test_the_golden_rotation_comes_back_closest_at_fibonacci_numbers():
    # |n α mod 2π| ~ 2π / (√5 n) at Fibonacci n, the slowest return of any rotation.
    state = circle(0.0)
    for n in (21, 34, 55):
        gap = float(angle(advanced(CircleRotationSpec(), state, n)).abs())
        assert gap == pytest.approx(2 * math.pi / (math.sqrt(5) * n), rel=1e-3)


def test_the_cat_map_is_its_matrix_on_the_torus():
    theta = torch.tensor([[0.3, 1.1], [2.0, -0.4]], dtype=torch.float64)
    state = torch.stack((theta.cos(), theta.sin()), dim=-1).flatten(1)
    expected = theta @ torch.tensor([[2.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    end = advanced(CatMapSpec(), state, 1)
    assert torch.allclose(end, torch.stack((expected.cos(), expected.sin()), dim=-1).flatten(1), atol=1e-15)


def test_the_cat_map_has_the_exponent_of_the_larger_eigenvalue():
    # Distances in a direction of the torus grow as the matrix says; rescaled after each iteration.
    theta, step, total = torch.tensor([0.3, 1.1], dtype=torch.float64), 1e-7, 0.0
    offset = torch.tensor([step, 0.0], dtype=torch.float64)
    count = 60
    for _ in range(count):
        pair = torch.stack((theta, theta + offset))
        both = angle(advanced(CatMapSpec(), torch.stack((pair.cos(), pair.sin()), dim=-1).flatten(1), 1))
        theta, offset = both[0], torch.remainder(both[1] - both[0] + math.pi, 2 * math.pi) - math.pi
        total += math.log(float(offset.norm()) / step)
        offset = offset * (step / offset.norm())
    exponent = math.log((3 + math.sqrt(5)) / 2)
    # The part of the first direction along the unstable one costs a constant: log(cos 32°)/60.
    assert total / count == pytest.approx(exponent, abs=0.005)
    assert CatMapSpec().lyapunov_time() == pytest.approx(1 / exponent)


def test_the_cat_map_keeps_the_uniform_measure_of_the_torus():
    count = 4000
    end = angle(advanced(CatMapSpec(), start(CatMapSpec(), count), 200))
    for waves in ((1, 0), (0, 1), (1, -1), (2, 1)):
        phase = end @ torch.tensor(waves, dtype=torch.float64)
        assert float(torch.polar(torch.ones(count).double(), phase).mean().abs()) < 4 / count**0.5


def test_both_maps_of_the_annulus_make_the_same_bytes_from_the_states_that_are_drawn():
    plain, sheared = AnnulusShearSpec(), AnnulusShearSpec(sheared=True)
    assert torch.equal(start(plain, 20_000), start(sheared, 20_000))
    first = second = start(plain, 20_000)
    for _ in range(7):
        first, second = advanced(plain, first, 1), advanced(sheared, second, 1)
        assert first.numpy().tobytes() == second.numpy().tobytes()


def test_draws_of_the_annulus_are_uniform_on_the_disc_off_the_ring():
    radius = start(AnnulusShearSpec(), 20_000).norm(dim=1)
    assert not bool(((radius > 0.5) & (radius < 0.6)).any())
    assert float(radius.max()) < 1 + 1e-8
    # Share within the ring's inner edge: 0.25 of an area of 0.89.
    share = float((radius < 0.5).double().mean())
    assert share == pytest.approx(0.25 / 0.89, abs=4 * (0.28 * 0.72 / 20_000) ** 0.5)


def test_on_the_ring_the_maps_differ_and_only_the_shear_has_spectrum_at_i():
    # g = χ(r) e^{-it}, χ on a thin ring where φ = π/2: g∘F₁ = e^{-i(π + φ)} g = i g; with F₀ it is -g.
    system = AnnulusShearSpec(sheared=True)
    radii = torch.linspace(0.5, 0.55, 200_001, dtype=torch.float64)
    radius = radii[(system.bump(radii) - math.pi / 2).abs().argmin()]
    near = radius + 1e-5 * torch.linspace(-1, 1, 50, dtype=torch.float64)
    theta = torch.linspace(0, 6, 50, dtype=torch.float64)
    state = torch.stack((near * theta.cos(), near * theta.sin()), dim=-1)
    residuals = []
    for spec in (AnnulusShearSpec(), system):
        following = advanced(spec, state, 1)
        assert torch.allclose(following, spec.exact(state[..., None], 1.0)[..., 0], atol=1e-13)
        assert torch.allclose(following.norm(dim=1), near, atol=1e-15)
        g, g_next = (torch.exp(-1j * angle(x)[:, 0]) for x in (state, following))
        residuals.append(float((g_next - 1j * g).abs().square().mean().sqrt()))
    assert residuals[0] == pytest.approx(math.sqrt(2), abs=1e-12)
    assert residuals[1] < 5e-3


def test_the_bump_is_smooth_and_ends_at_the_edges():
    system = AnnulusShearSpec(amplitude=1.0)
    radii = torch.tensor([0.4, 0.5, 0.55, 0.6, 0.9], dtype=torch.float64)
    assert system.bump(radii).tolist() == pytest.approx([0, 0, 1.0, 0, 0], abs=1e-12)
    edge = torch.tensor([0.5, 0.5005, 0.6], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(system.bump(edge).sum(), edge)
    assert torch.isfinite(slope).all()
    assert slope[0] == slope[2] == 0


def test_a_ring_outside_the_disc_is_refused():
    with pytest.raises(ValueError, match=r"ring: \(0\.5, 1\.2\) must satisfy 0 < inner < outer < 1"):
        AnnulusShearSpec(ring=(0.5, 1.2))
