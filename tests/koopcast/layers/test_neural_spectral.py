"""Neural spectral block: against loops, patch by patch."""

import math

import pytest
import torch
from torch import Tensor

from koopcast.layers.neural_spectral import NeuralSpectralBlock, wave_sum

TOKENS, BASIS, HEADS, PART = 3, 5, 2, 2


def block(patch: tuple[int, ...], *, is_scaled: bool = False) -> NeuralSpectralBlock:
    generator = torch.Generator().manual_seed(0)
    layer = NeuralSpectralBlock(
        HEADS * PART,
        patch,
        tokens=TOKENS,
        basis=BASIS,
        heads=HEADS,
        is_scaled=is_scaled,
        generator=generator,
    ).double()
    for parameter in layer.parameters():
        parameter.data = torch.randn(parameter.shape, dtype=torch.float64, generator=generator)
    return layer


def by_loops(layer: NeuralSpectralBlock, points: list[Tensor], scale: float) -> list[Tensor]:
    """Map the points of one patch, each a vector of channels, as the formulas are written."""

    def of_head(vector: Tensor, head: int) -> Tensor:
        return vector[head * PART : (head + 1) * PART]

    result = [point.clone() for point in points]
    for head in range(HEADS):
        keys = [of_head(point @ layer.keys.weight, head) for point in points]
        values = [of_head(point @ layer.values.weight + layer.values.bias, head) for point in points]
        queries = [of_head(point @ layer.queries.weight + layer.queries.bias, head) for point in points]
        tokens = []
        for latent in layer.latent[:, head]:
            logits = [(latent @ key) * scale for key in keys]
            total = sum(logit.exp() for logit in logits)
            token = latent + sum(
                logit.exp() / total * value for logit, value in zip(logits, values, strict=True)
            )
            sines, cosines = (of_head(weight.T, head) for weight in layer.weight)
            tokens.append(
                token
                + sum(
                    sines[:, m] * (math.pi * m * token / BASIS).sin()
                    + cosines[:, m] * (math.pi * m * token / BASIS).cos()
                    for m in range(BASIS)
                )
            )
        for index, query in enumerate(queries):
            logits = [(query @ token) * scale for token in tokens]
            total = sum(logit.exp() for logit in logits)
            of_head(result[index], head).add_(
                sum(logit.exp() / total * token for logit, token in zip(logits, tokens, strict=True))
            )
    return result


@torch.no_grad()
@pytest.mark.parametrize("is_scaled", [False, True])
@pytest.mark.parametrize(("patch", "shape"), [((3,), (6,)), ((2, 3), (4, 6)), ((2, 1, 2), (2, 2, 4))])
def test_the_block_does_in_each_patch_what_the_formulas_say(
    patch: tuple[int, ...], shape: tuple[int, ...], is_scaled: bool
) -> None:
    layer = block(patch, is_scaled=is_scaled)
    x = torch.randn(2, HEADS * PART, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = x.clone()
    counts = [size // part for size, part in zip(shape, patch, strict=True)]
    scale = 1 / math.sqrt(PART) if is_scaled else 1.0
    for sample in range(2):
        for corner in torch.cartesian_prod(*[torch.arange(count) for count in counts]).reshape(
            -1, len(patch)
        ):
            cells = torch.cartesian_prod(*[torch.arange(part) for part in patch]).reshape(-1, len(patch))
            places = [
                (sample, slice(None), *(corner * torch.tensor(patch) + cell).tolist()) for cell in cells
            ]
            mapped = by_loops(layer, [x[place] for place in places], scale)
            for place, value in zip(places, mapped, strict=True):
                expected[place] = value
    assert torch.allclose(layer(x), expected, atol=1e-12)


def test_what_happens_in_a_patch_stays_in_it() -> None:
    layer = block((2, 2))
    x = torch.randn(1, 4, 4, 6, dtype=torch.float64)
    touched = x.clone()
    touched[0, :, 1, 3] += 1
    changed = (layer(touched) - layer(x))[0].abs().sum(0) > 0
    assert changed[:2, 2:4].all()
    assert changed.sum() == 4


def test_the_waves_of_a_token_are_summed_as_written() -> None:
    generator = torch.Generator().manual_seed(0)
    T = 3 * torch.randn(7, 4, 6, dtype=torch.float64, generator=generator)
    w = torch.randn(2, 12, 6, dtype=torch.float64, generator=generator)
    angles = torch.arange(12, dtype=torch.float64)[:, None] * (math.pi / 12) * T[:, :, None]
    direct = (w[0] * angles.sin() + w[1] * angles.cos()).sum(2)
    assert torch.allclose(wave_sum(T, w), direct, atol=1e-12)
    # In single precision the powers of z are as good as sines of large angles.
    single = wave_sum(T.float(), w.float())
    assert torch.allclose(single.double(), direct, atol=2e-5)


def test_a_basis_of_one_wave_adds_a_constant() -> None:
    T, w = torch.randn(3, 2, 4), torch.randn(2, 1, 4)
    assert torch.allclose(wave_sum(T, w), w[1].expand(3, 2, 4), atol=1e-6)
