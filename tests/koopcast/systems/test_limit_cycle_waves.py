"""Waves that relax to a limit cycle: their equation, their Koopman eigenfunctions, noise, refusals."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from koopcast.dynamics import Setting
from koopcast.systems.limit_cycle_waves import LimitCycleWavesSpec

SPEC = LimitCycleWavesSpec(points=16, harmonics=3, frequency=0.7, relaxation=0.4)


def start(count: int = 20) -> Tensor:
    return SPEC.initial(count, torch.Generator().manual_seed(1))[..., 0]


def test_a_wave_is_read_as_it_was_made() -> None:
    radius, phase = torch.tensor([0.5, 1.3]).double(), torch.tensor([1.0, -2.0]).double()
    r, phi = SPEC.polar(SPEC.waves(radius, phase))
    assert torch.allclose(r, radius)
    assert torch.allclose(phi, phase)
    # Σ r^h cos(h(x - φ)) / h at x = 0, r = 1/2, φ = 1.
    by_hand = sum(0.5**h * math.cos(h) / h for h in (1, 2, 3))
    assert float(SPEC.waves(radius, phase)[0, 0]) == pytest.approx(by_hand)


def test_the_radius_obeys_its_equation_and_the_flow_composes() -> None:
    fields, advance, dt = start(), SPEC.problem().advance, 1e-5
    r, after = SPEC.polar(fields)[0], SPEC.polar(advance(fields, dt))[0]
    assert torch.allclose((after - r) / dt, 0.4 * r * (1 - r**2) / 2, atol=1e-5)
    assert torch.allclose(advance(advance(fields, 0.3), 0.5), advance(fields, 0.8), atol=1e-13)
    assert torch.allclose(SPEC.polar(advance(fields, 60.0))[0], torch.ones(20).double(), atol=1e-9)


def test_koopman_eigenfunctions_have_their_eigenvalues() -> None:
    fields, dt = start(), 0.2
    values = SPEC.eigenvalues(dt, 2, 2)

    def observed(k: int, m: int, u: Tensor) -> Tensor:
        r, phase = SPEC.polar(u)
        return torch.polar(torch.ones_like(r), k * phase) * (1 - r**-2) ** m

    later = SPEC.problem().advance(fields, dt)
    for m in range(3):
        for k in range(-2, 3):
            expected = values[m, k + 2] * observed(k, m, fields)
            assert torch.allclose(observed(k, m, later), expected, atol=1e-11)


def test_options_may_differ_from_sample_to_sample() -> None:
    fields = start(2)
    varied = SPEC.problem(Setting(parameters={"frequency": torch.tensor([0.7, 0.1]).double()}))
    later = varied.advance(fields, 1.0)
    assert torch.allclose(later[0], SPEC.problem().advance(fields, 1.0)[0])
    turned = SPEC.polar(later)[1] - SPEC.polar(fields)[1]
    assert float(turned[1] % (2 * math.pi)) == pytest.approx(0.1)


def test_noise_has_its_size_and_takes_the_certificates() -> None:
    noisy = SPEC.model_copy(update={"noise": 0.3})
    fields = start(2000)
    change = noisy.disturbed(fields, torch.Generator().manual_seed(2)) - fields
    # 32000 normal numbers: the standard deviation is known to 0.4 %.
    assert float(change.std()) == pytest.approx(0.3, rel=0.02)
    assert SPEC.describe().properties == {"exact_solution", "exact_spectrum"}
    assert noisy.describe().properties == frozenset()
    assert noisy.exact(fields[..., None], 1.0) is None


def test_waves_that_the_grid_does_not_hold_are_refused() -> None:
    with pytest.raises(ValidationError, match="need more than 16 points, and there are 16"):
        LimitCycleWavesSpec(points=16, harmonics=8)
    with pytest.raises(ValidationError, match=r"1\.5 is above 0\.5"):
        LimitCycleWavesSpec(radius=(1.5, 0.5))
