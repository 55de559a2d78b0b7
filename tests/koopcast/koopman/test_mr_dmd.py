from collections.abc import Callable

import numpy as np
import pytest
import torch

from koopcast.errors import DataError
from koopcast.fields import FieldData
from koopcast.koopman import DMDSpec, MRDMDSpec
from koopcast.subsets import SubsetSpec

MakeFields = Callable[..., FieldData]
PLAIN = {"center": False, "rank": 4}
TIMES = 240
PATTERNS = np.random.default_rng(0).normal(size=(4, 20))


def _two_speeds(turns: tuple[float, float]) -> np.ndarray:
    """Return two waves that turn so often in the window."""
    phase = 2 * np.pi * np.outer(np.arange(TIMES), turns) / TIMES
    return np.concatenate([np.cos(phase), np.sin(phase)], axis=1) @ PATTERNS


def test_each_wave_is_found_at_the_level_where_it_is_slow(
    make_fields: MakeFields, generator: torch.Generator
) -> None:
    values = _two_speeds((1, 6))
    model = MRDMDSpec(levels=3, cycles=2, **PLAIN).fit(make_fields(values[None]), generator)
    tree = model.diagnostics()
    turns = np.abs(np.angle(tree["slow_real"] + 1j * tree["slow_imag"])) * TIMES / (2 * np.pi)
    level = tree["slow_level"].values
    # Six turns are three in a half and one and a half in a quarter; four quarters hold a pair each.
    assert np.allclose(turns[level == 1], 1, atol=1e-8)
    assert (level == 2).sum() == 0
    assert np.allclose(turns[level == 3], 6, atol=1e-6)
    assert (level == 3).sum() == 8
    assert sorted(set(zip(tree["slow_start"].values, tree["slow_stop"].values, strict=True))) == [
        (0, 60), (0, 240), (60, 120), (120, 180), (180, 240),
    ]  # fmt: skip
    frames = torch.from_numpy(values)[:, :, None]
    ahead = model.forecast(frames[None, 10:11], [1, 100])
    assert torch.allclose(ahead[0], frames[[11, 110]], atol=1e-6)


def test_one_level_that_keeps_all_modes_is_dmd(make_fields: MakeFields, generator: torch.Generator) -> None:
    fields = make_fields(_two_speeds((1, 6))[None])
    one = MRDMDSpec(levels=1, cycles=200, **PLAIN).fit(fields, generator)
    plain = DMDSpec(ridge=0.0, **PLAIN).fit(fields, generator)
    frames = fields.tensor(dtype=torch.float64)[:, 7:8]
    assert torch.allclose(one.forecast(frames, [1, 30]), plain.forecast(frames, [1, 30]), atol=1e-8)
    assert one.card()["spectral_radius"] == pytest.approx(plain.card()["spectral_radius"], abs=1e-10)


def test_the_forecast_is_that_of_the_last_window(make_fields: MakeFields, generator: torch.Generator) -> None:
    # The fast wave has another frequency in the second half.
    early, late = _two_speeds((0.5, 24)), _two_speeds((0.5, 36))
    values = np.concatenate([early[:120], late[120:]])
    model = MRDMDSpec(levels=2, cycles=20, **PLAIN).fit(make_fields(values[None]), generator)
    tree = model.diagnostics()
    turns = np.abs(np.angle(tree["slow_real"] + 1j * tree["slow_imag"])) * TIMES / (2 * np.pi)
    last = turns[(tree["slow_level"].values == 2) & (tree["slow_start"].values == 120)]
    first = turns[(tree["slow_level"].values == 2) & (tree["slow_start"].values == 0)]
    assert np.abs(last - 36).min() < 0.5
    assert np.abs(first - 24).min() < 0.5
    assert np.abs(last - 24).min() > 5


def test_windows_without_slow_modes_or_states_are_refused(
    make_fields: MakeFields, generator: torch.Generator
) -> None:
    fields = make_fields(_two_speeds((60, 90))[None])
    with pytest.raises(DataError, match="no mode of the last windows turns at most 2 times"):
        MRDMDSpec(levels=2, **PLAIN).fit(fields, generator)
    with pytest.raises(DataError, match=r"7 levels cut 240 states.*at most 6"):
        MRDMDSpec(levels=7, **PLAIN).fit(fields, generator)
    MRDMDSpec(levels=6, cycles=10, **PLAIN).fit(fields, generator)
    with pytest.raises(DataError, match="whole trajectories"):
        MRDMDSpec(levels=2).fit(fields, generator, SubsetSpec(count=5))
