import math

import pytest
import torch
from pydantic import ValidationError

from koopcast.dynamics import Setting
from koopcast.integrators.exact import ExactSpec
from koopcast.systems.advection import AdvectionSpec


def wave(points, length, shift):
    """A field of the modes 1, 3 and 7, moved to the right by `shift`."""
    x = 2 * math.pi / length * (torch.arange(points, dtype=torch.float64) * length / points - shift)
    return 0.3 + torch.sin(x) + 0.5 * torch.cos(3 * x + 1) - 0.2 * torch.sin(7 * x)


@pytest.mark.parametrize("points", [32, 33])
@pytest.mark.parametrize(("beta", "time"), [(1.0, 0.3711), (-0.4, 5.2), (4.0, 2.0)])
def test_any_shift_of_a_band_limited_field_is_exact(points, beta, time):
    system = AdvectionSpec.model_validate({"points": points, "length": 2.5, "beta": beta})
    moved = system.problem().advance(wave(points, 2.5, 0.0), time)
    assert torch.allclose(moved, wave(points, 2.5, beta * time), atol=1e-13)
    assert torch.equal(system.exact(wave(points, 2.5, 0.0)[None, :, None], time)[0, :, 0], moved)


def test_a_shift_by_whole_cells_moves_any_field_cell_by_cell():
    u = torch.randn(3, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    moved = AdvectionSpec(points=64).problem().advance(u, 5 / 64)
    assert torch.allclose(moved, u.roll(5, dims=1), atol=1e-13)


def test_many_small_steps_are_one_long_one_and_keep_mean_and_energy():
    # With the Nyquist mode in it the field would lose energy at the first step.
    system = AdvectionSpec(points=128, beta=0.37)
    u = system.initial(20, torch.Generator().manual_seed(1))
    assert torch.fft.rfft(u[..., 0], norm="forward")[:, -1].abs().max() < 1e-15
    step, state = ExactSpec().build(system.problem(), 0.01), u[..., 0]
    for _ in range(1000):
        state = step(state)
    assert torch.allclose(state[..., None], system.exact(u, 10.0), atol=1e-12)
    before, after = system.invariants(u), system.invariants(state[..., None])
    for name in ("mean", "mean_square"):
        assert torch.allclose(before[name], after[name], atol=1e-13)


def test_speeds_may_differ_from_sample_to_sample():
    speeds = torch.tensor([0.1, 4.0], dtype=torch.float64)
    system = AdvectionSpec(points=32)
    u = wave(32, 1.0, 0.0).expand(2, -1)
    moved = system.problem(Setting(parameters={"beta": speeds})).advance(u, 0.7)
    for row, speed in enumerate(speeds):
        assert torch.allclose(moved[row], wave(32, 1.0, 0.7 * speed.item()), atol=1e-13)
    single = system.problem(Setting(dtype=torch.float32, parameters={"beta": speeds})).advance(u.float(), 0.7)
    assert single.dtype == torch.float32
    assert torch.allclose(single.double(), moved, atol=1e-5)


def test_folded_fields_move_as_their_trigonometric_interpolants():
    # 90 points of the interpolant of 30 are a field of their own, a cell of which is a third of a coarse one.
    # (The Nyquist mode of 30 points would be an ordinary one of 90.)
    u = AdvectionSpec.model_validate(
        {"points": 30, "initial_state": {"kind": "wave_sum", "fold_probability": 1}}
    )
    coarse = u.initial(5, torch.Generator().manual_seed(3))[..., 0]
    fine = 3 * torch.fft.irfft(torch.nn.functional.pad(torch.fft.rfft(coarse), (0, 30)), n=90)
    assert torch.allclose(u.problem().advance(coarse, 1 / 90), fine.roll(1, dims=1)[:, ::3], atol=1e-13)


def test_initial_laws_that_the_grid_does_not_bear_are_refused():
    with pytest.raises(ValidationError, match=r"initial_state: modes: 8 is not below 8"):
        AdvectionSpec(points=16)
    with pytest.raises(ValidationError, match="initial_state: "):
        AdvectionSpec.model_validate({"initial_state": "cosine_gaussian"})
