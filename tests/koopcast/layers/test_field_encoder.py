"""Encoders of fields."""

import pytest
import torch

from koopcast.errors import ShapeMismatch
from koopcast.layers.field_encoder import FieldEncoder


def encoder(kind: str, shape: tuple[int, ...], periodic: bool = False) -> FieldEncoder:
    return FieldEncoder(
        kind,
        shape,
        (periodic,) * len(shape),
        channels=2,
        hidden=(6, 8),
        outputs=5,
        generator=torch.Generator().manual_seed(0),
    )


@pytest.mark.parametrize("shape", [(9,), (8, 7), (5, 4, 6)])
@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_any_grid_becomes_a_vector_of_the_asked_length(kind: str, shape: tuple[int, ...]) -> None:
    assert encoder(kind, shape)(torch.randn(3, *shape, 2)).shape == (3, 5)


def test_none_is_the_values_themselves() -> None:
    x = torch.randn(3, 4, 2)
    own = encoder("none", (4,))
    assert torch.equal(own(x), x.flatten(1))
    assert own.outputs == 8
    assert list(own.parameters()) == []


def test_on_periodic_axes_the_first_convolution_goes_round() -> None:
    own = encoder("cnn", (8,), periodic=True)
    x = torch.randn(1, 8, 2)
    features = own._convolved(x, own.kernels[0], own.biases[0])
    shifted = own._convolved(x.roll(2, 1), own.kernels[0], own.biases[0])
    assert torch.allclose(shifted, features.roll(1, 1), atol=1e-6)


def test_fields_on_another_grid_are_refused() -> None:
    with pytest.raises(ShapeMismatch, match="resample"):
        encoder("cnn", (8,))(torch.randn(1, 9, 2))
