from typing import get_args

import pytest
import torch

from koopcast.errors import DataError
from koopcast.numerics.random_features import (
    Activation,
    Candidates,
    Distribution,
    HiddenLayer,
    activate,
    choose,
    draw_hidden,
    folds,
    held_out,
)
from koopcast.numerics.ridge_path import ridge_path

ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)
DISTRIBUTIONS: tuple[Distribution, ...] = get_args(Distribution)


def line(points: int) -> torch.Tensor:
    return torch.linspace(-1, 1, points, dtype=torch.float64)[:, None]


def drawn(distribution: Distribution, features: int, x: torch.Tensor, seed: int = 0) -> HiddenLayer:
    return draw_hidden(distribution, "sigmoid", features, x, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_features_of_a_huge_bandwidth_are_finite(activation: Activation) -> None:
    # e^{500 · 2} has no float64: a sigmoid written as e^z / (1 + e^z) is NaN here.
    z = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0], dtype=torch.float64)
    assert bool(torch.isfinite(activate(activation, 500 * z)).all())
    torch.testing.assert_close(
        activate("sigmoid", 500 * z), torch.tensor([0, 0, 0.5, 1, 1], dtype=z.dtype), rtol=0.0, atol=1e-200
    )


@pytest.mark.parametrize(
    ("activation", "value"),
    [("sigmoid", 0.62246), ("tanh", 0.46212), ("relu", 0.5), ("gauss", 0.77880), ("cos", 0.87758)],
)
def test_activations_have_their_textbook_value_at_one_half(activation: Activation, value: float) -> None:
    z = torch.full((1,), 0.5, dtype=torch.float64)
    assert float(activate(activation, z)) == pytest.approx(value, abs=1e-5)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_equal_seeds_draw_equal_neurons(distribution: Distribution) -> None:
    x = line(30)
    one, same, other = (drawn(distribution, 20, x, seed) for seed in (0, 0, 1))
    assert torch.equal(one.A, same.A)
    assert torch.equal(one.b, same.b)
    assert not torch.equal(one.A, other.A)


def test_bounded_laws_stay_within_the_bandwidth_and_fill_it() -> None:
    x = torch.zeros(2, 3, dtype=torch.float64)
    for distribution in ("uniform", "log_uniform"):
        layer = drawn(distribution, 4000, x)
        both = torch.cat([layer.A, layer.b[None]]).abs()
        assert 0.95 < float(both.max()) <= 1
    # A uniform radius exceeds 1/10 for nine in ten, a log-uniform one on [1e-3, 1] for one in three.
    share = (drawn("log_uniform", 4000, x).b.abs() > 0.1 * 0.5).double().mean()
    assert float(share) < 0.5 < float((drawn("uniform", 4000, x).b.abs() > 0.1 * 0.5).double().mean())


def test_normal_neurons_have_mean_zero_and_variance_one() -> None:
    layer = drawn("normal", 20_000, torch.zeros(2, 2, dtype=torch.float64))
    # Six standard errors of a mean and of a variance of 20 000 draws.
    assert bool((layer.A.mean(dim=1).abs() < 6 / 20_000**0.5).all())
    assert bool(((layer.A.square().mean(dim=1) - 1).abs() < 6 * (2 / 20_000) ** 0.5).all())


def test_a_neuron_of_a_data_pair_is_zero_at_one_row_and_one_at_another() -> None:
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    z = drawn("data_pairs", 50, x).projected(x)
    assert bool((z.abs().min(dim=0).values < 1e-12).all())
    assert bool(((z - 1).abs().min(dim=0).values < 1e-12).all())


def test_pairs_of_equal_rows_are_replaced_and_all_equal_rows_refused() -> None:
    x = torch.zeros(40, 2, dtype=torch.float64)
    x[7] = 1.0
    assert bool(torch.isfinite(drawn("data_pairs", 30, x).A).all())
    with pytest.raises(DataError, match="no pair of them differs"):
        drawn("data_pairs", 30, torch.ones(5, 2, dtype=torch.float64))


def test_a_function_in_the_span_of_the_neurons_is_recovered() -> None:
    x = line(300)
    layer = drawn("uniform", 6, x)
    H = layer.features(layer.projected(x), 40.0)
    beta = torch.tensor([[1.0], [-2.0], [0.5], [3.0], [0.0], [-1.0]], dtype=torch.float64)
    found = ridge_path(H, H @ beta, (0.0,)).coefficients[0]
    torch.testing.assert_close(found, beta, rtol=1e-8, atol=1e-8)


def test_more_neurons_than_points_and_no_penalty_interpolate() -> None:
    x = line(20)
    y = torch.randn(20, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    layer = drawn("uniform", 400, x)
    H = layer.features(layer.projected(x), 200.0)
    path = ridge_path(H, y, (0.0, 1e-8))
    # A penalty that goes to 0 leaves a residual that does.
    exact, near = ((H @ B - y).norm() / y.norm() for B in path.coefficients)
    assert float(exact) < 1e-10
    assert float(exact) < float(near) < 1e-3


def test_a_few_narrow_neurons_are_a_polynomial() -> None:
    # As λ -> 0, σ(λz) spans what its Taylor terms span: constants, then lines. H loses its rank to rounding.
    x = line(100)
    layer = drawn("uniform", 50, x)
    ranks = [
        int(torch.linalg.matrix_rank(layer.features(layer.projected(x), bandwidth)))
        for bandwidth in (0.01, 1.0, 100.0)
    ]
    assert ranks[0] < 8 < ranks[1] < ranks[2]


def test_the_error_is_u_shaped_in_the_bandwidth_and_validation_finds_the_bottom() -> None:
    x = line(200)
    y = torch.sin(6 * torch.pi * x)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(0))
    layer = drawn("uniform", 100, x)
    candidates = Candidates((0.25, 2.0, 16.0, 128.0, 1024.0), (0.0,))
    choice = choose(layer, x, y, folds(200, 5, order), candidates)
    errors = choice.errors[:, 0].tolist()
    assert choice.bandwidth == 16.0
    assert choice.error == min(errors)
    assert min(errors[0], errors[-1]) > 100 * choice.error


def test_validation_is_the_error_of_a_fit_to_the_other_rows() -> None:
    x, splits = line(30), folds(30, 3)
    y = torch.cat([x.square(), x.abs()], dim=1)
    layer = drawn("uniform", 10, x)
    found = held_out(layer, x, y, splits, Candidates((3.0,), (1e-3,), linear_part=True, center=True))
    expected = torch.zeros(2, dtype=torch.float64)
    for learn, judge in splits:
        H = torch.cat([layer.features(layer.projected(x), 3.0), x], dim=1)
        shift, level = H[learn].mean(dim=0), y[learn].mean(dim=0)
        B = ridge_path(H[learn] - shift, y[learn] - level, (1e-3,)).coefficients[0]
        expected += (y[judge] - level - (H[judge] - shift) @ B).square().sum(dim=0)
    torch.testing.assert_close(found[0, 0], expected, rtol=1e-10, atol=0.0)


@pytest.mark.parametrize("count", [2, 3, 7])
def test_folds_judge_every_row_once_and_never_learn_from_it(count: int) -> None:
    splits = folds(20, count)
    assert torch.cat([judge for _, judge in splits]).tolist() == list(range(20))
    for learn, judge in splits:
        assert sorted([*learn.tolist(), *judge.tolist()]) == list(range(20))


def test_one_fold_judges_the_last_fifth() -> None:
    ((learn, judge),) = folds(20, 1)
    assert learn.tolist() == list(range(16))
    assert judge.tolist() == [16, 17, 18, 19]
