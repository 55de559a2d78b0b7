"""The learned observer: forms of the gain, the recursion, its windows, its training."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from pydantic import ValidationError
from torch import Tensor, nn

from koopcast.batches import Runs
from koopcast.fields import FieldData
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.mapping import Signature
from koopcast.models import Context
from koopcast.observations.synthetic import ObservationError
from koopcast.operators.noda import GainSpec, NODASpec, PredictorSpec
from koopcast.operators.noda_network import NODANetwork, assimilated
from koopcast.operators.noda_windows import Drawing, Window, draw_window
from koopcast.operators.trained import OperatorDynamics
from koopcast.training import train
from koopcast.training_spec import TrainingSpec

POINTS = 16
FORMS = ("free", "odd", "linear", "static")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def spec_of(form: str = "free", **options: object) -> NODASpec:
    gain = {"form": form, "modes": 6, "width": 6, "layers": 2}
    small = {"predictor": {"modes": 4, "width": 6, "layers": 1}, "gain": gain, "window": 5, "warmup": 2}
    return NODASpec.model_validate({**small, **options})


def fields(points: int = POINTS, samples: int = 6, steps: int = 12) -> FieldData:
    """Return sums of dispersive waves on a ring, whose amplitudes and phases differ from sample to sample."""
    draws, k = seeded(1), torch.arange(1, 4)
    size, phase = (torch.rand(samples, 1, 1, 3, generator=draws) for _ in range(2))
    x = 2 * math.pi * torch.arange(points)[:, None] / points
    time = torch.arange(steps + 1)[:, None, None]
    waves = (0.5 + size) * torch.cos(k * x - 0.2 * k**2 * time + 2 * math.pi * phase)
    data = {"u": (("sample", "time", "x"), waves.sum(dim=-1).numpy())}
    axis = Axis("x", points, periodic=True, length=2 * math.pi)
    info = FieldsInfo({"u": "1"}, (axis,), TimeAxis(steps + 1, 1.0), samples)
    coords = {"time": np.arange(steps + 1.0), "x": np.arange(points) * axis.length / points}
    return FieldData(xr.Dataset(data, coords=coords), info)


DATA = fields()
SIGNATURE = Signature.of_dynamics(DATA.info, 1)


def network_of(form: str = "free", **options: object) -> NODANetwork:
    """Return a network whose weights are all drawn, the last layers too."""
    network = spec_of(form, **options).build(SIGNATURE, seeded())
    draws = seeded(1)
    for parameter in network.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.3, generator=draws)
    return network


def draw(*shape: int, seed: int = 2) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed))


def states(batch: int = 3, seed: int = 2) -> Tensor:
    return draw(batch, POINTS, 1, seed=seed)


def window_of(batch: int = 3, times: int = 8, seed: int = 4) -> Window:
    masks = (torch.rand(batch, times, POINTS, 1, generator=seeded(seed)) < 0.5).float()
    masks[:, 3] = 0
    masks[0, 5] = 0
    return Window(states(batch), draw(batch, times, POINTS, 1, seed=5), masks)


@pytest.mark.parametrize("form", ["odd", "linear", "static"])
def test_a_zero_innovation_corrects_nothing(form: str) -> None:
    gain = network_of(form).gain
    m = torch.ones(3, POINTS, 1)
    assert torch.count_nonzero(gain(states(), torch.zeros(3, POINTS, 1), m)) == 0


@pytest.mark.parametrize("form", FORMS)
def test_an_innovation_corrects(form: str) -> None:
    e = states(seed=3)
    assert network_of(form).gain(states(), e, torch.ones_like(e)).abs().max() > 0.1


def test_the_linear_form_is_linear_in_the_innovation_and_the_free_one_is_not() -> None:
    for form, is_linear in (("linear", True), ("free", False)):
        gain, x, m = network_of(form).double().gain, states().double(), torch.ones(3, POINTS, 1).double()
        one, other = states(seed=6).double(), states(seed=7).double()
        together = gain(x, 2 * one - 3 * other, m)
        apart = 2 * gain(x, one, m) - 3 * gain(x, other, m)
        assert torch.allclose(together, apart, atol=1e-12) is is_linear


def test_the_linear_form_depends_on_the_state() -> None:
    gain, e = network_of("linear").gain, states(seed=3)
    assert not torch.allclose(
        gain(states(), e, torch.ones_like(e)), gain(2 * states(), e, torch.ones_like(e))
    )


def test_the_static_gain_is_nudging_by_hand() -> None:
    network = spec_of("static", gain=GainSpec(form="static", kappa=0.3)).build(SIGNATURE, seeded())
    x, y, m = states(), states(seed=3), window_of().masks[:, 0]
    expected = torch.where(m > 0, x + 0.3 * (y - x), x)
    assert torch.allclose(network.correct(x, y, m), expected, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_training_sets_out_from_nudging(form: str) -> None:
    network = spec_of(form, gain=GainSpec(form=form, modes=6, width=6, kappa=0.3)).build(SIGNATURE, seeded())
    x, e = states(), states(seed=3)
    assert torch.allclose(network.gain(x, e, torch.ones_like(e)), 0.3 * e, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_a_member_without_a_datum_keeps_its_forecast_bit_for_bit(form: str) -> None:
    network, x, y = network_of(form), states(), states(seed=3)
    m = torch.ones_like(x)
    m[1] = 0
    corrected = network.correct(x, y, m)
    assert torch.equal(corrected[1], x[1])
    assert not torch.equal(corrected[0], x[0])
    assert torch.equal(network.correct(x, y, torch.zeros_like(m)), x)


def test_what_is_not_measured_has_no_influence() -> None:
    network, x, y = network_of(), states(), states(seed=3)
    m = window_of().masks[:, 0]
    assert torch.equal(network.correct(x, y, m), network.correct(x, torch.where(m > 0, y, 1e6), m))


def test_without_data_the_recursion_is_the_predictor_applied_again_and_again() -> None:
    network, window = network_of(), window_of()
    forecasts, analyses = assimilated(
        network, network.correct, window.start, window.values, torch.zeros_like(window.masks)
    )
    state = window.start
    for forecast in forecasts.unbind(1):
        state = network(state)
        assert torch.equal(forecast, state)
    assert torch.equal(forecasts, analyses)


@pytest.mark.parametrize("form", FORMS)
def test_a_recursion_in_two_parts_is_the_whole_one_bit_for_bit(form: str) -> None:
    network, window = network_of(form), window_of()

    def run(start: Tensor, part: slice) -> tuple[Tensor, Tensor]:
        return assimilated(network, network.correct, start, window.values[:, part], window.masks[:, part])

    forecasts, analyses = run(window.start, slice(None))
    first, then = run(window.start, slice(0, 3)), None
    then = run(first[1][:, -1], slice(3, None))
    assert torch.equal(forecasts, torch.cat([first[0], then[0]], dim=1))
    assert torch.equal(analyses, torch.cat([first[1], then[1]], dim=1))


def test_a_learned_operator_of_observation_starts_as_the_identity() -> None:
    network = spec_of(observation_operator="learned").build(SIGNATURE, seeded())
    assert torch.equal(network.observed(states()), states())
    assert not torch.equal(network_of(observation_operator="learned").observed(states()), states())


def drawing(**options: object) -> Drawing:
    level = ObservationError(snr_db=20)
    chosen = {"warmup": 4, "p_observe": (0.2, 0.2), "noise": (level, level), "has_random_masks": False}
    return Drawing(**{**chosen, **options})


TRUTH = draw(400, 21, POINTS, 1, seed=8)


def test_windows_are_measured_through_the_warm_up_and_then_as_often_as_asked() -> None:
    masks = draw_window(TRUTH, drawing(), torch.ones(1), seeded()).masks
    assert masks[:, :4].all()
    # 400 windows of 16 times: the standard error of the share is 0.005.
    assert abs(float(masks[:, 4:, 0].mean()) - 0.2) < 0.03
    assert torch.equal(masks, masks[:, :, :1].expand_as(masks))


def test_measurements_have_the_error_asked_for() -> None:
    window = draw_window(TRUTH, drawing(), torch.full((1,), 3.0), seeded())
    assert float((window.values - TRUTH[:, 1:]).std()) == pytest.approx(0.1, rel=0.02)
    levels = (ObservationError(std=0.6), ObservationError(std=0.6))
    window = draw_window(TRUTH, drawing(noise=levels), torch.full((1,), 3.0), seeded())
    assert float((window.values - TRUTH[:, 1:]).std()) == pytest.approx(0.2, rel=0.02)


def test_each_window_has_its_own_error_between_the_levels() -> None:
    levels = (ObservationError(snr_db=10), ObservationError(snr_db=30))
    window = draw_window(TRUTH, drawing(noise=levels), torch.ones(1), seeded())
    error = (window.values - TRUTH[:, 1:]).flatten(1).std(dim=1)
    decibels = -20 * error.log10()
    assert 9 < float(decibels.min()) < 12
    assert 28 < float(decibels.max()) < 31
    assert float(decibels.mean()) == pytest.approx(20, abs=1)


def test_half_of_the_windows_start_at_zero_and_half_near_the_truth() -> None:
    start = draw_window(TRUTH, drawing(start_std=0.3), torch.ones(1), seeded()).start
    is_zero = (start == 0).flatten(1).all(dim=1)
    assert 0.4 < float(is_zero.float().mean()) < 0.6
    assert float((start - TRUTH[:, 0])[~is_zero].std()) == pytest.approx(0.3, rel=0.05)


def test_random_masks_are_full_or_sub_grids_or_random_points() -> None:
    masks = draw_window(TRUTH, drawing(has_random_masks=True), torch.ones(1), seeded()).masks[:, 0, :, 0]
    shares = masks.mean(dim=1)
    assert 0.4 < float((shares == 1).float().mean()) < 0.6
    for step in (2, 4):
        comb = torch.zeros(POINTS)
        comb[::step] = 1
        assert any(bool((mask == comb.roll(shift)).all()) for mask in masks for shift in range(step))


def model_of(spec: NODASpec, network: NODANetwork | None = None) -> OperatorDynamics:
    statistics = Runs(DATA, 2, "data").statistics(DATA.always_valid())
    network = spec.build(SIGNATURE, seeded()) if network is None else network
    model = spec.assemble(network, DATA.info, SIGNATURE, statistics)
    assert isinstance(model, OperatorDynamics)
    return model


def mse(prediction: Tensor, target: Tensor, given: Tensor | None = None) -> Tensor:
    return (prediction - target).square().mean()


def gradients(progress: float, **options: object) -> dict[str, Tensor]:
    spec = spec_of(**options)
    model = model_of(spec, network_of(**options))
    context = Context(1, False, progress, seeded(3), is_training=True)
    model.loss(DATA.tensor()[:, :6], mse, context).backward()
    named = model.network.named_parameters()
    return {name: parameter.grad for name, parameter in named if parameter.grad is not None}


def test_the_predictor_learns_alone_at_first_and_the_gain_from_pretrain_on() -> None:
    early, late = gradients(0.5, pretrain=0.6), gradients(0.7, pretrain=0.6)
    assert all(name.startswith("predictor") for name in early)
    assert {name.split(".")[0] for name in late} == {"predictor", "gain"}
    for name, gradient in early.items():
        assert torch.equal(gradient, late[name])


def test_the_windows_move_a_predictor_that_is_not_frozen() -> None:
    frozen, free = gradients(0.9), gradients(0.9, freeze_predictor=False)
    assert any(not torch.equal(frozen[name], free[name]) for name in frozen if "predictor" in name)
    for name in frozen:
        if name.startswith("gain"):
            assert torch.allclose(frozen[name], free[name], atol=1e-6)


def test_supervision_by_measurements_compares_windows_with_nothing_else() -> None:
    def calls(supervision: str) -> int:
        compared = []

        def counted(prediction: Tensor, target: Tensor, given: Tensor | None = None) -> Tensor:
            compared.append(target)
            return mse(prediction, target)

        model = model_of(spec_of(supervision=supervision, pairs=3))
        loss = model.loss(DATA.tensor()[:, :6], counted, Context(1, False, 1.0, seeded(3), is_training=True))
        assert float(loss.detach()) > 0
        return len(compared)

    # Three pairs for the predictor, and with truth the forecasts and analyses of five records.
    assert calls("measurements") == 3
    assert calls("truth") == 3 + 2 * 5


TRAINING = TrainingSpec(
    epochs=6, batch_size=8, loss="mse", optimizer={"kind": "adamw", "learning_rate": 1e-2}
)


def test_a_small_training_lowers_the_error_of_analyses_below_the_measurements(tmp_path: Path) -> None:
    data = fields(points=32, samples=12, steps=12)
    spec = NODASpec(
        predictor=PredictorSpec(modes=16, width=8, layers=1),
        gain=GainSpec(modes=16, width=8, layers=1),
        window=4,
        warmup=3,
        noise=ObservationError(std=0.5),
        positional="none",
        pretrain=0.5,
        randomize_mask=False,
    )
    trained = train(spec, TRAINING, data, seed=1, device=torch.device("cpu"), scratch=tmp_path).model
    assert isinstance(trained, OperatorDynamics)
    correct, truth = trained.correction(), fields(points=32, samples=16, steps=40).tensor()[12:]
    assert correct is not None
    noise = 0.5 * torch.randn(truth[:, 1:].shape, generator=seeded())
    values, ones = (truth[:, 1:] + noise).flatten(2), torch.ones(len(truth), 32)
    state, errors = torch.zeros(len(truth), 32), []
    for step, value in enumerate(values.unbind(1), start=1):
        state = correct(trained.step(state), value, ones)
        errors.append((state - truth[:, step].flatten(1)).square().mean())
    assert float(torch.stack(errors[10:]).mean()) < 0.5 * 0.25
    again = spec.restore(data.info, trained.tensors())
    assert torch.equal(again.correction()(state, values[:, 0], ones), correct(state, values[:, 0], ones))


def test_options_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValidationError, match="warmup: 5 is not below window 5"):
        spec_of(warmup=5)
    with pytest.raises(ValidationError, match="p_observe"):
        spec_of(p_observe=(0.5, 0.2))
    with pytest.raises(ValidationError, match=r"gain.modes: 2 is below predictor.modes 4"):
        spec_of(gain={"modes": 2})
    faults = list(NODASpec().faults(SIGNATURE))
    assert [problem.path for problem in faults] == [("predictor", "modes"), ("gain", "modes")]
    assert [problem.path for problem in spec_of(history=2).faults(SIGNATURE)] == [("history",)]
