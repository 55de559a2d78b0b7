"""The variational form: hand values of its terms, their signs, what is drawn, storing."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.distributions import Normal, kl_divergence

from koopcast.fields import FieldData
from koopcast.koopman import InfoKVAESpec
from koopcast.koopman.autoencoder import regression
from koopcast.koopman.latent import LatentModel
from koopcast.models import Context
from koopcast.numerics.information import covariance, gaussian_divergence, info_nce, von_neumann_entropy
from koopcast.training import train
from koopcast.training_spec import TrainingSpec

MakeFields = Callable[..., FieldData]
SMALL = {"latent_dim": 4, "encoder": {"kind": "mlp", "hidden": [16]}, "window": 8}


def waves(samples: int = 12, times: int = 24, points: int = 16) -> np.ndarray:
    draws = np.random.default_rng(1)
    phase = 2 * np.pi * draws.random((samples, 1, 1)) + 0.3 * np.arange(times)[:, None]
    x = 2 * np.pi * np.arange(points) / points
    return np.cos(x - phase) + 0.05 * draws.standard_normal((samples, times, points))


def trained(spec: InfoKVAESpec, data: FieldData, folder: Path, epochs: int = 5) -> LatentModel:
    options = {"epochs": epochs, "batch_size": 16, "loss": "mse", "schedule": "constant"}
    optimizer = {"kind": "adamw", "learning_rate": 3e-3, "weight_decay": 0.0}
    training = TrainingSpec.model_validate({**options, "optimizer": optimizer})
    model = train(spec, training, data, seed=0, device=torch.device("cpu"), scratch=folder).model
    assert isinstance(model, LatentModel)
    return model


def context(*, is_training: bool, seed: int = 0) -> Context:
    return Context(1, False, 0.0, torch.Generator().manual_seed(seed), is_training)


def mse(prediction: torch.Tensor, truth: torch.Tensor, given: torch.Tensor | None = None) -> torch.Tensor:
    return (prediction - truth).square().mean()


def test_the_divergence_has_its_hand_values() -> None:
    # KL(N(1, 4) ‖ N(0, 1)) = ½ (4 + 1 - 1 - log 4); of N(0, 1) from N(2, e): ½ (1/e + 4/e - 1 + 1).
    one = gaussian_divergence(torch.tensor([1.0]), torch.tensor([math.log(4)]), 0.0, 0.0)
    assert float(one) == pytest.approx(2 - math.log(2))
    other = gaussian_divergence(torch.tensor([0.0]), torch.tensor([0.0]), torch.tensor([2.0]), torch.ones(1))
    assert float(other) == pytest.approx(2.5 / math.e)
    mean, log_variance = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    expected = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.5, math.exp(-0.1))).sum(-1)
    torch.testing.assert_close(gaussian_divergence(mean, log_variance, 0.5, -0.2), expected)


def test_the_objective_is_the_sum_of_its_terms(make_fields: MakeFields, tmp_path: Path) -> None:
    spec = InfoKVAESpec(**SMALL, alpha=0.3, gamma=0.2, beta=0.7)
    model = trained(spec, make_fields(waves()), tmp_path, epochs=1)
    network, run = model.network, make_fields(waves()).tensor()[:, :8]
    code = network.encoder(model.features(run)[:, :, None].movedim(2, -2).flatten(0, 1).flatten(-2))
    mean, log_variance = code.unflatten(0, (12, 8)).split(4, dim=-1)
    K = regression(mean, 0.1)
    first = kl_divergence(Normal(mean[:, :1], (log_variance[:, :1] / 2).exp()), Normal(0.0, 1.0))
    step = Normal(mean[:, :-1] @ K, (network.log_noise / 2).exp())
    others = kl_divergence(Normal(mean[:, 1:], (log_variance[:, 1:] / 2).exp()), step)
    divergence = torch.cat([first, others], dim=1).sum(-1).mean() / 16
    expected = (
        mse(model.decode(mean.flatten(0, 1)), run.flatten(0, 1))
        + mse(model.decode((mean[:, :-1] @ K).flatten(0, 1)), run[:, 1:].flatten(0, 1))
        + 0.7 * divergence
        + 0.3 * info_nce(mean, 3, 0.07)
        - 0.2 * von_neumann_entropy(covariance(mean.flatten(0, 1)))
    )
    found = network.objective(run, model, mse, context(is_training=False))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_entropy_of_the_encoder_is_rewarded_below_the_noise_of_the_prior() -> None:
    # d KL / d log σ² = ½ (σ²/Σ - 1): a wider encoder is better while it is narrower than the prior.
    for log_variance, sign in ((-1.0, -1.0), (1.0, 1.0)):
        own = torch.tensor([log_variance], requires_grad=True)
        gaussian_divergence(torch.zeros(1), own, 0.0, 0.0).backward()
        assert float(own.grad) == pytest.approx((math.exp(log_variance) - 1) / 2)
        assert float(own.grad) * sign > 0


def test_latent_vectors_are_drawn_in_training_and_means_in_use(
    make_fields: MakeFields, tmp_path: Path
) -> None:
    model = trained(InfoKVAESpec(**SMALL), make_fields(waves()), tmp_path, epochs=1)
    network, codes = model.network, torch.randn(2000, 3, 8, generator=torch.Generator().manual_seed(1))
    codes = codes[:1, :1].expand(2000, 3, 8)
    drawn = network._drawn(codes, context(is_training=True))
    assert torch.equal(drawn, network._drawn(codes, context(is_training=True)))
    assert not torch.equal(drawn, network._drawn(codes, context(is_training=True, seed=1)))
    std = (codes[0, 0, 4:] / 2).exp()
    # 6000 draws: 6 standard errors of the mean and of the standard deviation.
    assert bool(((drawn.mean((0, 1)) - codes[0, 0, :4]).abs() < 6 * std / 6000**0.5).all())
    assert bool(((drawn.flatten(0, 1).std(0) / std - 1).abs() < 6 / 12000**0.5).all())
    assert torch.equal(network._drawn(codes, context(is_training=False)), codes[..., :4])


def test_a_large_weight_brings_the_encoder_to_the_prior(make_fields: MakeFields, tmp_path: Path) -> None:
    data = make_fields(waves())
    runs = data.tensor()

    def divergence(beta: float) -> float:
        spec = InfoKVAESpec(**SMALL, alpha=0.0, gamma=0.0, beta=beta)
        network = (model := trained(spec, data, tmp_path / str(beta))).network
        codes = network._codes(model.features(runs))
        return float(network._divergence(codes, codes[..., :4], network.operator.float()))

    assert divergence(10.0) < 0.3 * divergence(1e-3)


def test_it_forecasts_and_is_restored_to_the_bit(make_fields: MakeFields, tmp_path: Path) -> None:
    data, spec = make_fields(waves()), InfoKVAESpec(**SMALL, alpha=0.0, beta=1e-3)
    model = trained(spec, data, tmp_path, epochs=12)
    other = spec.restore(data.info, model.tensors())
    frames = data.tensor()
    ahead = model.forecast(frames[:, :1], [1, 5])
    assert torch.equal(ahead, other.forecast(frames[:, :1], [1, 5]))
    # The waves have a mean square of ½.
    assert float((ahead - frames[:, [1, 5]]).square().mean()) < 0.1


def test_an_encoder_without_a_distribution_is_refused() -> None:
    with pytest.raises(ValidationError, match="'identity' has no distribution"):
        InfoKVAESpec(encoder="identity", operator="learned")
