from collections.abc import Callable

import numpy as np
import pytest
import torch

from koopcast.errors import DataError
from koopcast.fields import FieldData
from koopcast.koopman import DMDSpec, FBDMDSpec, TLSDMDSpec
from koopcast.koopman.projection import LinearMapSpec

MakeFields = Callable[..., FieldData]
RNG = np.random.default_rng(1)
PLAIN = {"center": False, "rank": None, "ridge": 0.0}


def _eigenvalues(model: object) -> np.ndarray:
    diagnostics = model.diagnostics()
    return np.sort_complex((diagnostics["eigenvalue_real"] + 1j * diagnostics["eigenvalue_imag"]).values)


def _trajectories(A: np.ndarray, samples: int, times: int) -> np.ndarray:
    states = [RNG.normal(size=(samples, len(A)))]
    for _ in range(times - 1):
        states.append(states[-1] @ A.T)
    return np.stack(states, axis=1)


def test_the_spectrum_of_a_linear_system_is_exact(
    make_fields: MakeFields, generator: torch.Generator
) -> None:
    basis = RNG.normal(size=(5, 5))
    block = np.zeros((5, 5))
    block[:2, :2] = [[0.9, -0.3], [0.3, 0.9]]
    block[2:, 2:] = np.diag([0.95, 0.7, -0.4])
    A = basis @ block @ np.linalg.inv(basis)
    model = DMDSpec(**PLAIN).fit(make_fields(_trajectories(A, 3, 12)), generator)
    assert np.allclose(_eigenvalues(model), np.sort_complex(np.linalg.eigvals(A)), atol=1e-10)
    assert float(model.diagnostics()["residual"].max()) < 1e-9
    frames = torch.from_numpy(_trajectories(A, 2, 5))[..., None]
    assert torch.allclose(model.forecast(frames[:, :1], [1, 4]), frames[:, [1, 4]], atol=1e-9)


def test_the_frequencies_of_a_rotation_on_a_torus_are_found_on_a_wide_grid(
    make_fields: MakeFields, generator: torch.Generator
) -> None:
    patterns = RNG.normal(size=(4, 60))
    time = np.arange(80)
    signals = np.stack(
        [np.cos(0.3 * time), np.sin(0.3 * time), np.cos(1.1 * time), np.sin(1.1 * time)], axis=1
    )
    model = DMDSpec(**PLAIN).fit(make_fields((signals @ patterns)[None]), generator)
    diagnostics = model.diagnostics()
    assert model.card()["rank"] == 4
    assert np.allclose(
        np.sort(diagnostics["period"].values), np.repeat([2 * np.pi / 1.1, 2 * np.pi / 0.3], 2), atol=1e-8
    )
    assert model.card()["spectral_radius"] == pytest.approx(1, abs=1e-10)
    assert diagnostics["mode_field"].dims == ("mode", "x")


def test_delays_recover_two_frequencies_from_one_scalar(
    make_fields: MakeFields, generator: torch.Generator
) -> None:
    time = np.arange(120.0)
    signal = np.cos(0.3 * time) + 0.5 * np.sin(1.1 * time + 0.2)
    fields = make_fields(signal[None, :, None], train=80)
    model = DMDSpec(delays=4, **PLAIN).fit(fields.part("train"), generator)
    assert np.allclose(np.sort(np.abs(np.angle(_eigenvalues(model)))), [0.3, 0.3, 1.1, 1.1], atol=1e-9)
    start = torch.from_numpy(signal[76:80])[None, :, None, None]
    ahead = model.forecast(start, [1, 40])[0, :, 0, 0]
    assert torch.allclose(ahead, torch.from_numpy(signal[[80, 119]]), atol=1e-7)
    single = DMDSpec(**PLAIN).fit(fields.part("train"), generator)
    assert abs(float(single.forecast(start[:, -1:], [40])) - signal[119]) > 0.1


def test_a_rank_above_what_varies_is_refused(make_fields: MakeFields, generator: torch.Generator) -> None:
    with pytest.raises(
        DataError, match="rank 3 asked, but the training fields vary in 1 directions; lower `rank`"
    ):
        DMDSpec(rank=3).fit(make_fields(RNG.normal(size=(2, 20, 1)).repeat(4, axis=2)), generator)


def test_the_optimal_rank_drops_noise(make_fields: MakeFields, generator: torch.Generator) -> None:
    time = np.arange(150)
    clean = np.outer(np.cos(0.4 * time), RNG.normal(size=100)) + np.outer(
        np.sin(0.4 * time), RNG.normal(size=100)
    )
    fields = make_fields((clean + 0.1 * RNG.normal(size=clean.shape))[None])
    model = DMDSpec(rank="optimal").fit(fields, generator)
    assert model.card()["rank"] == 2
    assert np.allclose(np.abs(np.angle(_eigenvalues(model))), 0.4, atol=2e-3)


def test_centring_makes_an_affine_map_linear(make_fields: MakeFields, generator: torch.Generator) -> None:
    time = np.arange(61)  # ten periods and one record, less one for the last state
    signal = 20 + np.stack([np.cos(np.pi * time / 5), np.sin(np.pi * time / 5)], axis=1)
    model = DMDSpec(rank=2, ridge=0.0).fit(make_fields(signal[None, :60]), generator)
    assert np.allclose(np.abs(np.angle(_eigenvalues(model))), np.pi / 5, atol=1e-10)


def test_decoding_then_encoding_is_the_identity(make_fields: MakeFields, generator: torch.Generator) -> None:
    model = DMDSpec(rank=3).fit(make_fields(RNG.normal(size=(2, 30, 8, 2))), generator)
    state = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    assert torch.allclose(model.encode(model.decode(state)[:, None]), state, atol=1e-12)


def test_delays_are_the_higher_order_decomposition(
    make_fields: MakeFields, generator: torch.Generator
) -> None:
    # Made by hand (Le Clainche & Vega 2017): the frames are reduced to their singular directions, the reduced
    # frames are stacked, and the companion-like map of the stacks is found by the pseudo-inverse.
    time = np.arange(70)
    rates = np.array([-0.01 + 0.3j, -0.002 + 1.1j, -0.03 + 2.0j])
    patterns = RNG.normal(size=(3, 2)) + 1j * RNG.normal(size=(3, 2))
    values = (np.exp(np.outer(time, rates)) @ patterns).real @ RNG.normal(size=(2, 25))
    W, _, _ = np.linalg.svd(values.T, full_matrices=False)
    reduced = values @ W[:, :2]
    stacks = np.concatenate([reduced[lag : lag + 68] for lag in (2, 1, 0)], axis=1)
    higher = np.linalg.lstsq(stacks[:-1], stacks[1:], rcond=None)[0]
    model = DMDSpec(delays=3, **PLAIN).fit(make_fields(values[None]), generator)
    assert model.card()["rank"] == 6
    assert np.allclose(_eigenvalues(model), np.sort_complex(np.linalg.eigvals(higher)), atol=1e-8)
    exact = np.exp(np.concatenate([rates, rates.conj()]))
    assert np.allclose(_eigenvalues(model), np.sort_complex(exact), atol=1e-8)


def test_a_stable_map_has_the_same_frequencies_and_none_that_grows(
    make_fields: MakeFields, generator: torch.Generator
) -> None:
    turn = 1.05 * np.array([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]])
    A = np.block([[turn, RNG.normal(size=(2, 1))], [np.zeros((1, 2)), 0.8 * np.eye(1)]])
    fields = make_fields(_trajectories(A, 3, 10))
    free, held = (DMDSpec(stable=stable, **PLAIN).fit(fields, generator) for stable in (False, True))
    assert free.card()["spectral_radius"] == pytest.approx(1.05)
    expected = np.array([0.8, np.exp(0.5j), np.exp(-0.5j)])
    assert np.allclose(_eigenvalues(held), np.sort_complex(expected), atol=1e-9)
    inside = make_fields(_trajectories(0.9 * A, 3, 10))
    free, held = (DMDSpec(stable=stable, **PLAIN).fit(inside, generator) for stable in (False, True))
    assert torch.allclose(free.tensors()["operator"], held.tensors()["operator"], atol=1e-12)


@pytest.mark.parametrize("spec", [TLSDMDSpec, FBDMDSpec])
def test_maps_without_bias_can_be_stable_too(
    make_fields: MakeFields, generator: torch.Generator, spec: type[LinearMapSpec]
) -> None:
    turn = 1.02 * np.array([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]])
    model = spec(center=False, rank=2, stable=True).fit(make_fields(_trajectories(turn, 3, 10)), generator)
    assert np.allclose(_eigenvalues(model), np.sort_complex([np.exp(0.5j), np.exp(-0.5j)]), atol=1e-10)


def test_a_defective_map_is_drawn_in_too(make_fields: MakeFields, generator: torch.Generator) -> None:
    # A Jordan block: one eigenvector, no diagonalisation.
    fields = make_fields(_trajectories(np.array([[1.1, 1.0], [0.0, 1.1]]), 5, 4))
    model = DMDSpec(stable=True, **PLAIN).fit(fields, generator)
    assert np.allclose(np.abs(_eigenvalues(model)), 1, atol=1e-6)
