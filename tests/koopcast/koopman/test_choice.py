"""Dictionary, rank and ridge by held-out errors."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from koopcast.errors import DataError
from koopcast.fields import FieldData
from koopcast.koopman import EDMDSpec, KernelEDMDSpec, ResDMDSpec
from koopcast.koopman.dictionaries import PolynomialSpec

MakeFields = Callable[..., FieldData]
RNG = np.random.default_rng(7)


def _slow_manifold(samples: int, times: int, noise: float) -> np.ndarray:
    x, y = RNG.uniform(-1, 1, size=(2, samples))
    states = [(x, y)]
    for _ in range(times - 1):
        x, y = states[-1]
        states.append((0.9 * x, 0.5 * y + 0.31 * x**2))
    values = np.stack([np.stack(state, axis=-1) for state in states], axis=1)
    return values + noise * RNG.normal(size=values.shape)


def test_the_dictionary_that_closes_is_chosen_and_refitted_to_everything(
    make_fields: MakeFields, generator: torch.Generator
) -> None:
    fields = make_fields(_slow_manifold(30, 8, 1e-3))
    dictionaries = ["linear", "polynomial", {"kind": "polynomial", "degree": 5}]
    choice = {"dictionaries": dictionaries, "ridges": [1e-8, 1e-2], "lead": 2}
    model = EDMDSpec(coordinates="values", choose=choice).fit(fields, generator)
    card = model.card()
    assert (card["chosen_dictionary"], card["chosen_ridge"]) == ("polynomial", 1e-8)
    table = model.diagnostics()["held_out_error"]
    assert table.dims == ("dictionary", "rank", "ridge")
    assert float(table.min()) == card["held_out_error"]
    assert table["dictionary"].values.tolist() == ["0: linear", "1: polynomial", "2: polynomial"]
    plain = EDMDSpec(coordinates="values", dictionary="polynomial", ridge=1e-8).fit(fields, generator)
    assert torch.equal(plain.tensors()["operator"], model.tensors()["operator"])


@pytest.mark.parametrize("samples", [1, 8])
def test_noise_directions_are_not_taken_for_signal(
    make_fields: MakeFields, generator: torch.Generator, samples: int
) -> None:
    # Two components that turn, and 18 of white noise: each more component adds error.
    time = 0.4 * np.arange(240 // samples)
    phase = RNG.uniform(0, 6, size=(samples, 1))
    waves = np.stack([np.cos(time + phase), np.sin(time + phase)], axis=-1)
    values = np.concatenate([3 * waves, 0.5 * RNG.normal(size=(*waves.shape[:2], 18))], axis=2)
    choice = {"ranks": [1, 2, 12, 20], "ridges": [0.0], "folds": 4}
    model = EDMDSpec(choose=choice).fit(make_fields(values), generator)
    assert model.card()["chosen_rank"] == "2"
    errors = model.diagnostics()["held_out_error"].values[0, :, 0]
    # Noise of 18 · 0.25 beside waves of 9: what nobody can forecast is √(4.5/13.5) of the whole.
    assert errors[1] == pytest.approx((4.5 / 13.5) ** 0.5, rel=0.05)


def test_held_out_errors_are_those_of_a_fit_by_hand(
    make_fields: MakeFields, generator: torch.Generator
) -> None:
    values = RNG.normal(size=(4, 6, 2)).cumsum(axis=1)
    fields = make_fields(values)
    spec = EDMDSpec(
        coordinates="values", center=False, weights="none", ridge=0.0, choose={"folds": 2, "lead": 2}
    )
    found = spec.fit(fields, generator).card()["held_out_error"]
    squared = size = 0.0
    for judged, fitted in (((0, 1), (2, 3)), ((2, 3), (0, 1))):
        X = values[list(fitted), :-1].reshape(-1, 2)
        B = np.linalg.lstsq(X, values[list(fitted), 1:].reshape(-1, 2), rcond=None)[0]
        ahead, truth = values[list(judged), :-2] @ B @ B, values[list(judged), 2:]
        squared += ((ahead - truth) ** 2).sum()
        size += (truth**2).sum()
    assert found == pytest.approx((squared / size) ** 0.5, rel=1e-9)


def test_a_choice_that_cannot_be_made_is_refused(make_fields: MakeFields, generator: torch.Generator) -> None:
    fields = make_fields(RNG.normal(size=(1, 10, 3)))
    with pytest.raises(DataError, match=r"lower `choose\.folds` or `choose\.lead`"):
        EDMDSpec(choose={"folds": 5, "lead": 4}).fit(fields, generator)
    with pytest.raises(ValidationError, match="judges maps without constraint and map_rank"):
        EDMDSpec(choose={}, constraint="stable")
    with pytest.raises(ValidationError, match="greater than or equal to 2"):
        EDMDSpec(choose={"folds": 1})
    problems = list(EDMDSpec(choose={"ranks": [2, 50]}).check(fields.shape_info))
    assert [(problem.path, problem.message[:14]) for problem in problems] == [
        (("choose", "ranks"), "50 is above 3,")
    ]


def test_an_error_by_hand_is_that_of_resdmd_with_all_its_pairs(
    make_fields: MakeFields, generator: torch.Generator
) -> None:
    # All eigenfunctions of a linear dictionary span what least squares does: the forecasts are the same.
    values = RNG.normal(size=(4, 12, 2)).cumsum(axis=1)
    shared = {"coordinates": "values", "center": False, "weights": "none", "ridge": 0.0}
    choice = {"folds": 2, "lead": 2}
    plain = EDMDSpec(**shared, choose=choice).fit(make_fields(values), generator)
    residual = ResDMDSpec(**shared, dictionary="linear", modes="all", choose=choice)
    found = residual.fit(make_fields(values), generator).card()["held_out_error"]
    assert found == pytest.approx(plain.card()["held_out_error"], rel=1e-8)


def test_resdmd_takes_the_dictionary_that_closes_and_no_candidate_without_a_verified_pair(
    make_fields: MakeFields, generator: torch.Generator
) -> None:
    fields = make_fields(_slow_manifold(30, 8, 1e-4))
    choice = {"dictionaries": ["linear", "polynomial"], "observables": [1, None], "ridges": [1e-8, 1.0]}
    spec = ResDMDSpec(coordinates="values", center=False, tolerance=0.02, choose=choice)
    model = spec.fit(fields, generator)
    card = model.card()
    assert (card["chosen_dictionary"], card["chosen_observables"]) == ("polynomial", "None")
    assert card["chosen_ridge"] == 1e-8
    table = model.diagnostics()["held_out_error"]
    assert table.dims == ("dictionary", "rank", "observables", "ridge")
    # One direction alone has no pair within the tolerance.
    assert np.isinf(table.sel(observables="1").values).all()
    plain = spec.model_copy(update={"choose": None, "dictionary": PolynomialSpec(), "ridge": 1e-8})
    assert torch.equal(plain.fit(fields, generator).tensors()["operator"], model.tensors()["operator"])
    again = spec.restore(fields.info, model.tensors())
    frames = torch.from_numpy(fields.dataset["u0"].values[:3, :1, :, None])
    assert torch.equal(again.forecast(frames, [2]), model.forecast(frames, [2]))
    with pytest.raises(DataError, match="no candidate can forecast every block"):
        ResDMDSpec(coordinates="values", center=False, tolerance=1e-9, dictionary="linear", choose={}).fit(
            fields, generator
        )


def test_kernel_edmd_takes_width_and_rank_that_forecast_best(
    make_fields: MakeFields, generator: torch.Generator
) -> None:
    angle = np.random.default_rng(2).uniform(0, 2 * np.pi, size=(60, 1)) + 0.7 * np.arange(3)
    fields = make_fields(np.stack([np.cos(angle), np.sin(angle)], axis=2))
    kernels = [{"kind": "gaussian", "width": width} for width in (0.01, 1.0)]
    choice = {"kernels": kernels, "functions": [1, 9], "ridges": [1e-10], "lead": 2}
    model = KernelEDMDSpec(coordinates="values", center=False, choose=choice).fit(fields, generator)
    card = model.card()
    assert card["chosen_functions"] == "9"
    errors = model.diagnostics()["held_out_error"].squeeze()
    assert errors.dims == ("kernel", "functions")
    # Too narrow to reach from one sample to the next nothing is forecast; the other is a rotation.
    assert errors.values[1, 1] == errors.values.min() < 1e-3
    assert errors.values[0].min() > 0.5
    assert float(model.tensors()["choice"][0]) == 1


def test_candidates_that_cannot_be_are_refused_before_the_fit(make_fields: MakeFields) -> None:
    with pytest.raises(ValidationError, match="functions: 40 are above 20, the centers"):
        KernelEDMDSpec(centers=20, functions=4, choose={"functions": [4, 40]})
    with pytest.raises(ValidationError, match="judges all samples alike; remove quadrature: trapezoid"):
        ResDMDSpec(quadrature="trapezoid", choose={})
    info = make_fields(RNG.normal(size=(1, 12, 3))).shape_info
    spec = ResDMDSpec(coordinates="values", choose={"dictionaries": ["linear", {"kind": "polynomial"}]})
    ((place, words),) = [(problem.path, problem.message) for problem in spec.check(info)]
    assert place == ("choose", "dictionaries")
    assert words.startswith("10 observables need 20 training pairs")
