"""Learned proximal networks: exact proximal operators, hand values, limits of losses, restart, refusals."""

import math
from pathlib import Path

import pytest
import torch
import xarray as xr
from pydantic import TypeAdapter, ValidationError

from koopcast.fields import FieldData
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.priors import AnyPrior, learning, read_prior, write_prior
from koopcast.priors.inversion import inverted, jacobian
from koopcast.priors.learning import Stage, departure, learned
from koopcast.priors.lpn import LearnedProximal, LPNSpec
from koopcast.studies.exact_proximal import ExactProximalSpec
from koopcast.studies.laplace_proximal import laplace, posterior_mean, soft_threshold

LINE = FieldsInfo({"u": "1"}, (Axis("x", 12, periodic=True, length=1.0),), TimeAxis(1, 1.0))
PLANE = FieldsInfo(
    {"u": "1", "v": "1"},
    (Axis("y", 4, length=1.0), Axis("x", 5, periodic=True, length=1.0)),
    TimeAxis(1, 1.0),
)
DENSE = LPNSpec(hidden=16, layers=3)
CONVOLUTION = LPNSpec(architecture="convolution", hidden=8, layers=3, kernel=3)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def prior(spec, info=LINE, seed=1):
    """A prior with random weights of the size of trained ones."""
    network = spec.network(info, seeded(seed))
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(torch.randn(weight.shape, generator=seeded(seed + 1)) * weight.abs().mean())
    network.project()
    ones = torch.ones(info.num_channels)
    return LearnedProximal(info, network, 0 * ones, ones, spec.sigma)


def points(count, info=LINE, seed=5):
    size = info.num_cells * info.num_channels
    return torch.randn(count, size, generator=seeded(seed), dtype=torch.float64)


CASES = [(DENSE, LINE), (CONVOLUTION, LINE), (DENSE, PLANE), (CONVOLUTION, PLANE)]
NAMES = ["dense-line", "convolution-line", "dense-plane", "convolution-plane"]


@pytest.mark.parametrize(("spec", "info"), CASES, ids=NAMES)
def test_jacobians_are_symmetric_and_not_negative(spec, info):
    f = prior(spec, info)
    J = jacobian(f.proximal, points(20, info))
    assert torch.allclose(J, J.mT, atol=1e-12)
    assert float(torch.linalg.eigvalsh(J).min()) >= spec.alpha - 1e-10
    assert float(J.abs().max()) > 1e-3


@pytest.mark.parametrize(("spec", "info"), CASES, ids=NAMES)
def test_f_minimises_what_a_proximal_operator_does(spec, info):
    f = prior(spec, info)
    z = points(10, info)
    x = f.proximal(z)

    def objective(candidate):
        R, residual = f.regulariser(candidate)
        assert float(residual.max()) < 1e-7
        return 0.5 * (candidate - z).square().sum(1) + R

    least = objective(x)
    for seed, size in ((1, 0.01), (2, 0.3), (3, 2.0)):
        # Points of the range of f, near and far.
        other = f.proximal(z + size * points(10, info, seed))
        # ½ |x' - z|² + R(x') is at least R + ½ |x - z|²: x' = x within rounding gives the same.
        assert (objective(other) >= least - 1e-9).all()
        assert (objective(other) > least + 1e-12).any()


def test_a_network_without_layers_has_a_quadratic_prior():
    # ψ = ½ α |x|² gives f = α x and R = ½ (1/α - 1) |x|².
    f = prior(LPNSpec(hidden=4, layers=2, alpha=0.25))
    with torch.no_grad():
        f.network.last.zero_()
        f.network.slope.zero_()
    x = points(3)
    assert torch.allclose(f.proximal(x), 0.25 * x)
    R, residual = f.regulariser(x)
    assert torch.allclose(R, 1.5 * x.square().sum(1))
    assert float(residual.max()) < 1e-9


def test_convolutions_know_no_place():
    f = prior(CONVOLUTION)
    x = points(4)
    assert torch.allclose(f.proximal(x.roll(5, 1)), f.proximal(x).roll(5, 1), atol=1e-12)
    assert not torch.allclose(prior(DENSE).proximal(x.roll(5, 1)), prior(DENSE).proximal(x).roll(5, 1))


def test_inversion_of_a_known_function_whose_slope_vanishes():
    # ψ with ψ' = y - tanh y: one variable, f(y) = x solved by Newton; the residual says how well.
    def potential(y):
        return (0.5 * y.square() - y.abs() - torch.log1p((-2 * y.abs()).exp())).sum(1)

    def f(y):
        return y - y.tanh()

    x = torch.linspace(-3, 3, 41).double()[:, None]
    y, residual = inverted(f, potential, x)
    assert float(residual.max()) < 1e-8
    assert torch.allclose(y - y.tanh(), x, atol=1e-8)


def test_losses_by_hand():
    residual = torch.tensor([[[3.0, -4.0]], [[0.0, 0.0]]])
    assert float(departure("l1", residual, 1.0)) == pytest.approx(7 / 4)
    assert float(departure("l2", residual, 1.0)) == pytest.approx(25 / 4)
    # |r|² / n = 12.5 and 0, γ = 5: (1 - e^{-1/2}) / 2.
    assert float(departure("pm", residual, 5.0)) == pytest.approx((1 - math.exp(-0.5)) / 2)


def test_laplace_numbers_have_the_posterior_of_the_closed_form():
    y = torch.tensor([-3.0, -0.5, 0.0, 1.2]).double()
    # On each half-line the posterior is a Gaussian about y ∓ 1, cut at 0.
    right = torch.exp(-y) * 0.5 * torch.erfc(-(y - 1) / math.sqrt(2))
    left = torch.exp(y) * 0.5 * torch.erfc((y + 1) / math.sqrt(2))
    assert torch.allclose(posterior_mean(y), ((y - 1) * right + (y + 1) * left) / (right + left), atol=1e-6)
    assert soft_threshold(y).tolist() == pytest.approx([-2, 0, 0, 0.2])
    draws = laplace(200_000, seeded()).flatten()
    assert float(draws.abs().mean()) == pytest.approx(1, rel=6 / 200_000**0.5)
    assert float(draws.square().mean()) == pytest.approx(2, rel=6 * (20 / 4 / 200_000) ** 0.5)


@pytest.mark.parametrize("loss", ["pm", "l2"])
def test_gaussian_numbers_shrink_by_the_known_factor(loss):
    # Mode and mean of the posterior of N(0, 1) numbers under noise of variance ½ are y / 1.5.
    spec = LPNSpec(
        hidden=16,
        layers=2,
        sigma=0.5**0.5,
        loss=loss,
        gamma_schedule=(2.0, 1.0),
        pretrain_steps=400,
        stage_steps=150,
        batch_size=512,
        learning_rate=1e-2,
        stage_learning_rate=2e-3,
    )
    info = FieldsInfo({"x": "1"}, (Axis("point", 1, "index"),), TimeAxis(1, ""))
    network = spec.network(info, seeded(3))
    spec.train(network, lambda count, generator: torch.randn(count, 1, 1, generator=generator), 4)
    f = LearnedProximal(info, network, torch.zeros(1), torch.ones(1), spec.sigma)
    y = torch.linspace(-2, 2, 41).double()[:, None]
    assert torch.allclose(f.proximal(y), y / 1.5, atol=0.08)
    assert all(float(weight.min()) >= 0 for mixing in network.mixings for weight in mixing.parameters())
    assert float(network.last.min()) >= 0


def test_a_training_that_was_stopped_goes_on_bit_by_bit(tmp_path, monkeypatch):
    monkeypatch.setattr(learning, "CHECKPOINT_STEPS", 10)
    stages = (Stage("l1", 1.0, 25, 1e-3), Stage("pm", 0.5, 20, 1e-3))

    class Stopped(Exception):
        pass

    def draw(count, generator):
        return torch.randn(count, 1, 12, generator=generator)

    def until(limit):
        calls = iter(range(limit))

        def limited(count, generator):
            if next(calls, None) is None:
                raise Stopped
            return draw(count, generator)

        return limited

    def train(source, scratch):
        network = DENSE.network(LINE, seeded(1))
        table = learned(network, source, stages, 0.3, 8, 7, scratch=scratch, identity="one")
        return network, table

    whole, table = train(draw, tmp_path / "whole")
    with pytest.raises(Stopped):
        train(until(34), tmp_path / "parts")
    rest, again = train(until(15), tmp_path / "parts")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, rest.state_dict()[name]), name
    assert table.equals(again)


def data(info, shape, seed=0):
    values = {
        name: (
            ("sample", "time", *(axis.name for axis in info.axes)),
            torch.randn(shape, generator=seeded(seed)),
        )
        for name in info.variables
    }
    return FieldData(xr.Dataset({n: (d, 3 * v.numpy() + 10) for n, (d, v) in values.items()}), info)


def test_a_prior_is_learned_in_units_of_its_data_and_read_as_it_was_written(tmp_path):
    info = FieldsInfo(PLANE.variables, PLANE.axes, TimeAxis(6, 1.0), samples=5)
    spec = LPNSpec(hidden=8, layers=2, pretrain_steps=20, stage_steps=5, batch_size=8)
    made, table = spec.learn(data(info, (5, 6, 4, 5)), 3, tmp_path / "scratch")
    assert table["step"].iloc[-1] == 30
    cells = 3 * points(4, PLANE) + 10
    normalised = made.normalise(cells)
    assert float(normalised.mean()) == pytest.approx(0, abs=0.5)
    assert float(normalised.std()) == pytest.approx(1, rel=0.3)
    assert torch.allclose(made.denormalise(normalised), cells)
    assert torch.allclose(made.scale() * normalised, cells - made.denormalise(torch.zeros_like(cells)))
    write_prior(Path(tmp_path), spec, made)
    read = read_prior(Path(tmp_path))
    assert torch.equal(read.proximal(normalised), made.proximal(normalised))
    assert read.info == info


def test_weights_are_kept_from_being_negative_when_they_are_read():
    made = prior(DENSE)
    tensors = made.tensors()
    tensors["network.mixings.0.weight"] = tensors["network.mixings.0.weight"] - 1.0
    read = DENSE.restore(LINE, tensors)
    assert all(float(weight.min()) >= 0 for mixing in read.network.mixings for weight in mixing.parameters())


def test_the_study_of_exactness_finds_an_exact_operator():
    spec = LPNSpec(hidden=8, layers=2, sigma=1.0, gamma_schedule=(2.0,), pretrain_steps=20, stage_steps=5)
    scores = ExactProximalSpec(prior=spec, size=4, points=20).run(seed=1).scores
    for network in ("untrained", "trained"):
        assert scores["asymmetry"][network]["all"] <= 1e-10
        assert scores["least_eigenvalue"][network]["all"] >= 0
        assert scores["inversion"][network]["all"] <= 1e-6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gamma_schedule": [1.0, 1.0]}, "1 follows 1; widths must decrease"),
        ({"gamma_schedule": [0.5, 1.0]}, "1 follows 0.5"),
        ({"kernel": 4}, "4 has no middle"),
        ({"loss": "pn"}, "'pm', 'l2' or 'l1'"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(AnyPrior).validate_python({"kind": "lpn", **options})


def test_fields_that_no_prior_takes_are_refused():
    masked = FieldsInfo(LINE.variables, LINE.axes, LINE.time, is_masked=True)
    assert "without a mask" in next(DENSE.faults(masked)).message
    deep = FieldsInfo({"u": "1"}, tuple(Axis(name, 4) for name in "zyx"), TimeAxis(1, 1.0))
    assert "the fields have 3" in next(CONVOLUTION.faults(deep)).message
    assert not list(DENSE.faults(deep))
