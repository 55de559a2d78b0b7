import math

import pytest
import torch

from koopcast.errors import ShapeMismatch
from koopcast.grids import Axis
from koopcast.random_fields.periodic import PeriodicGaussianSpec
from koopcast.random_fields.random_cosines import RandomCosinesSpec
from koopcast.random_fields.sine_series import GaussianSeriesSpec


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def line(points, length=1.0):
    return (Axis("x", points, periodic=True, length=length),)


def plane(*points, length=1.0):
    return tuple(
        Axis(name, n, periodic=True, length=length) for name, n in zip(("y", "x"), points, strict=True)
    )


LAWS = [
    PeriodicGaussianSpec(),
    GaussianSeriesSpec(),
    GaussianSeriesSpec(preset="fno_repo"),
    RandomCosinesSpec(),
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.kind)
def test_low_modes_on_a_line_do_not_depend_on_the_grid(law):
    coarse, fine = (
        torch.fft.rfft(law.draw(line(points), 3, seeded()), norm="forward") for points in (64, 128)
    )
    assert (coarse[:, :32] - fine[:, :32]).abs().max() < 1e-12
    # The coarse grid holds nothing at its Nyquist mode: the function is the fine one less its higher modes.
    assert coarse[:, 32].abs().max() < 1e-12


def test_low_modes_on_a_square_do_not_depend_on_the_grid():
    law = PeriodicGaussianSpec()
    coarse, fine = law.draw(plane(64, 64), 2, seeded()), law.draw(plane(128, 128), 2, seeded())
    spectrum = torch.fft.fft2(fine, norm="forward")
    kept = torch.cat((torch.arange(32), torch.arange(97, 128)))
    held = torch.cat((torch.arange(32), torch.arange(33, 64)))
    difference = spectrum[:, kept][:, :, kept] - torch.fft.fft2(coarse, norm="forward")[:, held][:, :, held]
    assert difference.abs().max() < 1e-12
    assert torch.fft.fft2(coarse)[:, 32].abs().max() < 1e-10
    assert torch.fft.fft2(coarse)[:, :, 32].abs().max() < 1e-10


def test_a_field_on_a_rectangle_has_the_low_modes_of_that_on_a_square():
    law = PeriodicGaussianSpec()
    square, rectangle = law.draw(plane(32, 32), 2, seeded()), law.draw(plane(16, 32), 2, seeded())
    low = torch.fft.fft2(rectangle, norm="forward")[:, 5, 9] - torch.fft.fft2(square, norm="forward")[:, 5, 9]
    assert low.abs().max() < 1e-12


def test_a_few_coefficients_seen_on_the_grid_are_those_that_were_drawn():
    # One mode alone, by hand: shell 1 of a line is the first draw, (cosine, sine).
    law, generator = GaussianSeriesSpec(), seeded()
    a, b = torch.randn(2, 1, 1, generator=generator, dtype=torch.float64).flatten().tolist()
    field = law.draw(line(64), 1, seeded())[0]
    x = torch.arange(64, dtype=torch.float64) / 64
    scale = math.sqrt(2) * 25 / (4 * math.pi**2 + 25)
    assert 2 * (field * torch.cos(2 * math.pi * x)).mean().item() == pytest.approx(scale * a)
    assert 2 * (field * torch.sin(2 * math.pi * x)).mean().item() == pytest.approx(scale * b)


@pytest.mark.parametrize(
    ("law", "sigma", "tau", "power"),
    [
        (GaussianSeriesSpec(), 25, 5, 2),
        (GaussianSeriesSpec(preset="fno_repo"), 49, 7, 2.5),
        (PeriodicGaussianSpec(alpha=2.0, tau=3.0), 3**1.5, 3, 2),
        (PeriodicGaussianSpec(alpha=2.0, tau=3.0, sigma=0.5), 0.5, 3, 2),
    ],
)
def test_the_variance_of_every_mode_on_a_line_is_that_of_the_law(law, sigma, tau, power):
    # E|û_k|² = σ² (κ² + τ²)^-power / 2 · 2 / 2: √2 s cos and √2 s sin give |û|² = s² (a² + b²)/2, mean s².
    count, length = 4000, 2.0
    energy = torch.fft.rfft(law.draw(line(32, length), count, seeded(1)), norm="forward").abs().square()
    kappa = 2 * math.pi / length * torch.arange(1, 16, dtype=torch.float64)
    expected = sigma**2 * (kappa**2 + tau**2) ** -power
    # (a² + b²)/2 is exponential: its standard error is its mean / √count.
    assert ((energy[:, 1:16].mean(0) / expected - 1).abs() < 5 / math.sqrt(count)).all()
    assert energy[:, 0].max() < 1e-24


def test_the_variance_of_every_mode_on_a_square_is_that_of_the_law():
    count, law = 4000, PeriodicGaussianSpec(tau=3.0)
    fields = law.draw(plane(12, 12, length=2 * math.pi), count, seeded(2))
    energy = torch.fft.fft2(fields, norm="forward").abs().square().mean(0)
    k = torch.fft.fftfreq(12, 1 / 12, dtype=torch.float64)
    # σ = τ^(α - d/2).
    expected = 3.0 ** (2 * 1.5) * (k[:, None] ** 2 + k**2 + 9) ** -2.5
    inside = (k[:, None].abs() < 6) & (k.abs() < 6)
    inside[0, 0] = False
    assert ((energy / expected - 1)[inside].abs() < 5 / math.sqrt(count)).all()
    assert energy[0, 0] < 1e-24
    assert energy[6].max() < 1e-24


def test_the_covariance_of_a_field_depends_on_the_distance_alone():
    count = 20000
    fields = PeriodicGaussianSpec(alpha=2.0, tau=3.0).draw(line(16), count, seeded(3))
    covariance = fields.T @ fields / count
    k = torch.arange(1, 8, dtype=torch.float64)
    s2 = 3.0**3 * (4 * math.pi**2 * k**2 + 9) ** -2.0
    distance = (torch.arange(16)[:, None] - torch.arange(16)).double() / 16
    expected = (2 * s2 * torch.cos(2 * math.pi * k * distance[..., None])).sum(-1)
    # Var of a product of normals: c_ii c_jj + c_ij².
    error = ((expected[0, 0] ** 2 + expected**2) / count).sqrt()
    assert ((covariance - expected).abs() < 5 * error).all()


def test_different_modes_are_independent():
    fields = PeriodicGaussianSpec().draw(plane(12, 12), 4000, seeded(4))
    spectrum = torch.fft.rfft2(fields, norm="forward")
    modes = torch.stack([spectrum[:, 1, 1], spectrum[:, -1, 1], spectrum[:, 2, 1], spectrum[:, 1, 0]])
    correlation = torch.corrcoef(torch.view_as_real(modes).permute(0, 2, 1).reshape(8, -1))
    assert (correlation - torch.eye(8)).abs().max() < 5 / math.sqrt(4000)


def test_the_stated_presets_give_way_to_options_that_are_given():
    assert GaussianSeriesSpec.model_validate({"preset": "fno_repo"}).sigma == 49
    assert GaussianSeriesSpec.model_validate({"preset": "fno_repo", "sigma": 7.0}).sigma == 7
    spec = GaussianSeriesSpec(preset="fno_repo")
    assert GaussianSeriesSpec.model_validate_json(spec.model_dump_json()) == spec


def test_axes_on_which_a_law_has_no_meaning_are_refused():
    open_axis = (Axis("x", 16, length=1.0),)
    assert "periodic" in PeriodicGaussianSpec().fault(open_axis)
    assert "1 periodic axes" in GaussianSeriesSpec().fault(plane(16, 16))
    assert "alpha: 1 is not above 1" in PeriodicGaussianSpec(alpha=1.0).fault(plane(16, 16))
    assert "Nyquist" in RandomCosinesSpec(modes=8).fault(line(16))
    for law in (PeriodicGaussianSpec(), GaussianSeriesSpec(), RandomCosinesSpec()):
        with pytest.raises(ShapeMismatch, match="periodic"):
            law.draw(open_axis, 1, seeded())
