import pytest
import torch

from koopcast.layers.perceptron import Perceptron, Perceptrons, activation, glorot


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_weights_have_the_variance_of_glorot_and_biases_are_zero():
    layer = glorot(300, 200, generator())
    # 60 000 normal numbers: the relative standard error of their variance is √(2/60000).
    assert layer.weight.var().item() == pytest.approx(2 / 500, rel=5 * (2 / 60_000) ** 0.5)
    assert not layer.bias.any()


def test_only_the_hidden_layers_are_activated_unless_the_last_shall_be():
    x = torch.randn(50, 3, generator=generator(1))
    plain = Perceptron((3, 8, 5), "relu", generator=generator())
    assert (plain(x) < 0).any()
    last = Perceptron((3, 8, 5), "relu", is_activated_last=True, generator=generator())
    assert torch.equal(last(x), plain(x).relu())
    assert torch.allclose(Perceptron((3, 5), "tanh", generator=generator())(2 * x), 2 * Perceptron(
        (3, 5), "tanh", generator=generator()
    )(x), atol=1e-6)  # fmt: skip


def test_independent_perceptrons_are_each_the_same_as_one_alone():
    many = Perceptrons(4, (3, 8, 6), "sin", generator=generator())
    x = torch.randn(7, 3, generator=generator(1))
    result = many(x)
    assert result.shape == (7, 4)
    for k in range(4):
        alone = Perceptron((3, 8, 6, 1), "sin")
        for layer, weight in zip(alone.layers, many.weights, strict=True):
            layer.weight.data = weight.data[k]
        assert torch.allclose(alone(x)[:, 0], result[:, k], atol=1e-6)
    for first, second in zip(many.weights[0], many.weights[0][1:], strict=False):
        assert not torch.equal(first, second)


def test_activations_are_the_named_functions():
    x = torch.tensor([-1.0, 0.0, 2.0])
    assert torch.equal(activation("relu")(x), torch.tensor([0.0, 0.0, 2.0]))
    assert torch.equal(activation("sin")(x), x.sin())
    assert torch.equal(activation("tanh")(x), x.tanh())
    assert activation("gelu")(x)[2].item() == pytest.approx(2 * 0.97725, abs=1e-4)
