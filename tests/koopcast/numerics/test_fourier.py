import pytest
import torch

from koopcast.numerics.fourier import PeriodicLine, kept_modes
from koopcast.numerics.fourier_2d import PeriodicSquare
from koopcast.numerics.rounding import rounded


@pytest.mark.parametrize(("dealias", "power"), [("2/3", 2), ("1/2", 3)])
@pytest.mark.parametrize("points", [8, 16, 30, 64, 96])
def test_products_of_kept_modes_have_no_aliases_among_them(points, dealias, power):
    kept = kept_modes(points, dealias)
    spectrum = torch.zeros(points // 2 + 1, dtype=torch.complex128)
    spectrum[1:kept] = torch.randn(
        kept - 1, generator=torch.Generator().manual_seed(0), dtype=torch.complex128
    )
    coarse, fine = (
        torch.fft.rfft(torch.fft.irfft(spectrum, n=n, norm="forward") ** power, norm="forward")
        for n in (points, 4 * points)
    )
    assert torch.allclose(coarse[:kept], fine[:kept], atol=1e-12)
    # One mode more, where there is one, and aliases fall among the kept ones: the rule is sharp.
    assert (power + 1) * kept >= points


def test_without_a_rule_every_mode_but_that_of_nyquist_is_kept():
    assert kept_modes(64, "none") == 32


def test_coefficients_that_are_not_kept_are_zero_and_stay_zero():
    line, square = PeriodicLine(32, 1.0), PeriodicSquare(32, 1.0)
    generator = torch.Generator().manual_seed(1)
    v = line.to_spectral(torch.randn(2, 32, 1, generator=generator, dtype=torch.float64))
    w = square.to_spectral(torch.randn(2, 32, 32, 1, generator=generator, dtype=torch.float64))
    N = line.semilinear(-(line.wave_numbers**2)).nonlinear(v)
    assert v[:, line.kept :].abs().max() == 0
    assert N[:, line.kept :].abs().max() == 0
    assert w[:, 11:22].abs().max() == 0
    assert square.advection()(w)[:, 11:22].abs().max() == 0
    assert square.advection()(w)[:, 0, 0].abs().max() == 0


@pytest.mark.parametrize("grid", [PeriodicLine(32, 2.0), PeriodicSquare(32, 2.0)])
def test_fields_of_kept_modes_go_to_coefficients_and_back(grid):
    shape = (2, *[32] * (1 if isinstance(grid, PeriodicLine) else 2), 1)
    rough = torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    smooth = grid.to_physical(grid.to_spectral(rough))
    assert torch.allclose(grid.to_physical(grid.to_spectral(smooth)), smooth, atol=1e-13)


def test_weights_are_rounded_last_and_real_for_real_tensors():
    weights = rounded((torch.tensor([1 / 3 + 0j], dtype=torch.complex128),))
    assert weights(torch.zeros(1))[0].item() == torch.tensor(1 / 3).item()
    assert weights(torch.zeros(1, dtype=torch.complex64))[0].dtype == torch.complex64
    assert weights(torch.zeros(1, dtype=torch.float64))[0].item() == 1 / 3
