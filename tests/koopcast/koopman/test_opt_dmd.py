from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from koopcast.errors import DataError, InvalidInput
from koopcast.fields import FieldData
from koopcast.grids import TimeAxis
from koopcast.koopman import DMDSpec, OptDMDSpec
from koopcast.models import Model
from koopcast.numerics.exponentials import fit_exponentials
from koopcast.subsets import SubsetSpec

MakeFields = Callable[..., FieldData]
RATES = np.array([-0.02 + 0.5j, -0.05 + 1.3j])
BOTH = np.sort_complex(np.concatenate([RATES, RATES.conj()]))
PLAIN = {"center": False, "rank": 4}
PATTERNS = np.random.default_rng(1).normal(size=(2, 30)) + 1j * np.random.default_rng(2).normal(size=(2, 30))


def _signal(times: np.ndarray, phases: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    return (np.exp(np.outer(times, RATES) + 1j * np.array(phases)) @ PATTERNS).real


def _eigenvalues(model: Model) -> np.ndarray:
    diagnostics = model.diagnostics()
    return (diagnostics["eigenvalue_real"] + 1j * diagnostics["eigenvalue_imag"]).values


def _unequal(fields: FieldData, times: np.ndarray) -> FieldData:
    dataset = fields.dataset.assign_coords(time=times)
    return replace(fields, dataset=dataset, info=replace(fields.info, time=TimeAxis(len(times), "")))


def test_exponentials_of_unequal_steps_are_exact(make_fields: MakeFields, generator: torch.Generator) -> None:
    times = np.sort(np.random.default_rng(0).uniform(0, 40, 61))
    fields = _unequal(make_fields(_signal(times)[None]), times)
    model = OptDMDSpec(**PLAIN).fit(fields, generator)
    step = np.median(np.diff(times))
    assert np.allclose(np.sort_complex(np.log(_eigenvalues(model)) / step), BOTH, atol=1e-8)
    # One step of a forecast is the median interval.
    start, ahead = (torch.from_numpy(_signal(np.array([t])))[None, ..., None] for t in (3.0, 3.0 + 7 * step))
    assert torch.allclose(model.forecast(start, [7]), ahead, atol=1e-8)


def test_trajectories_of_any_phase_share_the_modes_and_missing_times_are_left_out(
    make_fields: MakeFields, generator: torch.Generator
) -> None:
    times = np.arange(40.0)
    values = np.stack([_signal(times), _signal(times + 3, (1.0, 2.0)), _signal(times, (0.3, -2.0))])
    mask = np.ones((40, 30), dtype=bool)
    mask[[5, 6, 17, 30]] = False
    values[:, ~mask[:, 0]] = np.nan
    model = OptDMDSpec(**PLAIN).fit(make_fields(values, mask=mask), generator)
    assert np.allclose(np.sort_complex(np.log(_eigenvalues(model))), BOTH, atol=1e-8)
    assert float(model.diagnostics()["residual"].max()) < 1e-8


def test_no_record_has_a_successor_and_the_rates_are_still_found(
    make_fields: MakeFields, generator: torch.Generator
) -> None:
    times = np.arange(80.0)
    mask = np.repeat(np.arange(80) % 2 == 0, 30).reshape(80, 30)
    values = np.where(mask, _signal(times), np.nan)[None]
    with pytest.raises(DataError, match="no pair of consecutive states"):
        DMDSpec(**PLAIN).fit(make_fields(values, mask=mask), generator)
    model = OptDMDSpec(**PLAIN).fit(make_fields(values, mask=mask), generator)
    assert np.allclose(np.sort_complex(np.log(_eigenvalues(model))), BOTH, atol=1e-8)


def test_noise_biases_it_less_than_least_squares(make_fields: MakeFields) -> None:
    times = np.arange(100.0)
    truth = np.exp(-0.01 + 0.4j)
    clean = np.exp(np.outer(times, [-0.01 + 0.4j])) * np.array([1, -1j])
    errors: dict[str, list[float]] = {"dmd": [], "opt_dmd": []}
    for seed in range(10):
        noise = 0.1 * np.random.default_rng(seed).normal(size=(100, 2))
        fields = make_fields((clean.real + noise)[None])
        for spec in (
            DMDSpec(center=False, rank=2, ridge=0.0),
            OptDMDSpec(center=False, rank=2),
        ):
            values = _eigenvalues(spec.fit(fields, torch.Generator()))
            errors[spec.kind].append(abs(values[values.imag > 0][0] - truth))
    assert np.mean(errors["opt_dmd"]) < 0.05 * np.mean(errors["dmd"])


def test_bags_spread_as_the_estimates_of_independent_noise_do(make_fields: MakeFields) -> None:
    times = np.arange(200.0)
    clean = (np.exp(np.outer(times, [0.4j])) * np.array([1, -1j])).real
    found, spread = [], []
    for seed in range(12):
        noise = 0.3 * np.random.default_rng(seed).normal(size=clean.shape)
        spec = OptDMDSpec(center=False, rank=2, bags=30, bag_share=0.5)
        model = spec.fit(make_fields((clean + noise)[None]), torch.Generator().manual_seed(seed))
        values = _eigenvalues(model)
        found.append(np.angle(values[values.imag > 0][0]))
        diagnostics = model.diagnostics()
        spread.append(
            np.hypot(diagnostics["eigenvalue_real_std"].values, diagnostics["eigenvalue_imag_std"].values)[0]
        )
    # Halves drawn without replacement differ from the whole as the whole does from the truth; the frequency
    # is one of two components of the spread. Twelve seeds know a standard deviation to a factor of 1.5.
    actual = np.sqrt(np.mean((np.array(found) - 0.4) ** 2))
    assert 0.5 * actual < np.mean(spread) < 3 * actual
    frames = torch.from_numpy(clean[None, :1, :, None])
    growing = model.forecast_std(frames, [1, 50]).mean(dim=(0, 2, 3))
    assert 0 < float(growing[0]) < float(growing[1])
    with pytest.raises(InvalidInput, match="no bags"):
        OptDMDSpec(center=False, rank=2).fit(make_fields(clean[None]), torch.Generator()).forecast_std(
            frames, [1]
        )


def test_rates_that_must_not_grow_do_not(make_fields: MakeFields, generator: torch.Generator) -> None:
    growth = np.exp(0.02 * np.arange(30.0))[None, :, None] * np.array([1.0, 2.0])
    fields = make_fields(growth)
    assert OptDMDSpec(center=False, rank=1).fit(fields, generator).card()["spectral_radius"] == pytest.approx(
        np.exp(0.02), abs=1e-9
    )
    held = OptDMDSpec(center=False, rank=1, stable=True).fit(fields, generator)
    assert held.card()["spectral_radius"] <= 1 + 1e-12


def test_the_jacobian_leads_to_a_stationary_point() -> None:
    rng = np.random.default_rng(0)
    times = torch.from_numpy(np.sort(rng.uniform(0, 30, 80)))
    clean = torch.exp(-0.05 * times[:, None]) * torch.cos(0.7 * times[:, None] + torch.arange(3.0))
    signals = clean + 0.05 * torch.from_numpy(rng.normal(size=(80, 3)))

    def error(rates: torch.Tensor) -> float:
        Phi = torch.exp(torch.outer(times.to(rates.dtype), rates))
        left = signals - Phi @ torch.linalg.lstsq(Phi, signals.to(rates.dtype)).solution
        return float(left.norm() / signals.norm())

    start = torch.tensor([-0.1 + 0.6j, -0.1 - 0.6j], dtype=torch.complex128)
    found = fit_exponentials(signals, times, start)
    assert found.error == pytest.approx(error(found.rates), rel=1e-9)
    for shift in (1e-4, -1e-4, 1e-4j, -1e-4j):
        moved = found.rates + torch.tensor([shift, np.conj(shift)])
        # Kaufman's Jacobian drops a term of the size of the residual: flat to first order all the same.
        assert error(moved) > found.error


def test_rates_on_the_border_of_growth_are_the_best_that_do_not_grow() -> None:
    times = torch.arange(40.0, dtype=torch.float64)
    signals = torch.exp(0.03 * times[:, None]) * torch.cos(0.5 * times[:, None] + torch.arange(2.0))
    start = torch.tensor([0.01 + 0.6j, 0.01 - 0.6j], dtype=torch.complex128)
    found = fit_exponentials(signals, times, start, is_stable=True)
    assert found.iterations < 30
    assert bool((found.rates.real == 0).all())
    # Among undamped oscillations a fine search finds no better frequency.
    errors = []
    for frequency in found.rates.imag[0] + torch.linspace(-1e-3, 1e-3, 5, dtype=torch.float64):
        Phi = torch.stack([torch.cos(frequency * times), torch.sin(frequency * times)], dim=1)
        errors.append(float((signals - Phi @ torch.linalg.lstsq(Phi, signals).solution).norm()))
    assert min(errors) == errors[2]


def test_what_it_cannot_learn_from_is_refused(make_fields: MakeFields, generator: torch.Generator) -> None:
    fields = make_fields(_signal(np.arange(40.0))[None])
    with pytest.raises(DataError, match="4 exponentials need 8 records, the training part has 6"):
        OptDMDSpec(**PLAIN).fit(make_fields(_signal(np.arange(6.0))[None]), generator)
    with pytest.raises(DataError, match=r"whole trajectories.*remove `subset`"):
        OptDMDSpec(**PLAIN).fit(fields, generator, SubsetSpec(count=10))
    unequal = replace(fields, info=replace(fields.info, time=TimeAxis(40, "")))
    with pytest.raises(DataError, match="stacks of unequally spaced records"):
        OptDMDSpec(delays=2, **PLAIN).fit(unequal, generator)
    problems = OptDMDSpec(bags=1, delays=2).check(unequal.info)
    assert [problem.path for problem in problems] == [("delays",), ("bags",)]
