"""Transformer over patches: what a patch is on each grid, symmetries, convergence, options."""

import math

import pytest
import torch
from torch import Tensor

from koopcast.grids import Axis, TimeAxis
from koopcast.mapping import Signature
from koopcast.operators.vit_no import ViTSpec
from koopcast.operators.vit_no_network import PatchTransformer, cut, joined

FORMS = ("softmax", "galerkin")


def signature_of(*sizes: int, periodic: bool = True) -> Signature:
    axes = tuple(Axis(name, size, periodic=periodic) for name, size in zip("xyz", sizes, strict=False))
    return Signature(axes, ("a",), ("u", "v"), 2, 1, TimeAxis(9, 1.0))


def network(*sizes: int, periodic: bool = True, **options: object) -> PatchTransformer:
    small = {"width": 8, "layers": 2, "heads": 2, "head_channels": 4, "channels": 5}
    spec = ViTSpec.model_validate({**small, **options})
    return spec.build(signature_of(*sizes, periodic=periodic), torch.Generator().manual_seed(0)).double()


def draw(*sizes: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, *sizes, 2, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("sizes", [(8,), (4, 6), (2, 4, 6)])
def test_a_field_cut_into_patches_and_joined_is_the_field(sizes: tuple[int, ...]) -> None:
    x = draw(*sizes)
    tokens = cut(x, 2)
    assert tokens.shape == (2, *(size // 2 for size in sizes), 2 ** len(sizes) * 2)
    assert torch.equal(joined(tokens, 2, len(sizes)), x)
    last = tuple(slice(size - 2, size) for size in sizes)
    assert torch.equal(tokens[(slice(None), *[-1] * len(sizes))], x[(slice(None), *last)].flatten(1))


def test_on_the_training_grid_tokens_are_read_by_a_convolution_with_the_stride_of_a_patch() -> None:
    built, x = network(8, 12), draw(8, 12)
    kernel = built.embed.weight.T.reshape(8, 4, 4, 2).movedim(-1, 1)
    strided = torch.nn.functional.conv2d(x.movedim(-1, 1), kernel, built.embed.bias, stride=4)
    assert torch.allclose(built.embed(cut(x, 4)), strided.movedim(1, -1), atol=1e-12)


@pytest.mark.parametrize(("patches", "reach"), [("physical", 0.25), ("plain", 0.125)])
def test_a_patch_is_the_same_part_of_the_domain_on_every_grid_unless_it_is_plain(
    patches: str, reach: float
) -> None:
    shifts = patches == "plain"
    built = network(16, norm="none", patches=patches, allow_resolution_shift=shifts)
    # Without blocks a token answers within its own patch alone.
    built.blocks = torch.nn.ModuleList()
    x = draw(32)
    disturbed = x.clone()
    disturbed[:, 9] += 1
    changed = (built(disturbed) - built(x)).abs().amax(dim=(0, 2)) > 1e-9
    places = torch.arange(32)[changed] / 32
    # The point 9 / 32 lies in the second patch of 1/4, and the third of 1/8, that begin at 1/4; values
    # between the samples of a patch and those of the next belong to both.
    spacing = 1 / 16 if patches == "physical" else 1 / 32
    assert abs(float(places.min()) - 0.25) <= spacing
    assert abs(float(places.max()) - (0.25 + reach - 1 / 32)) <= spacing


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("sizes", [(16,), (8, 12)])
def test_without_positions_it_commutes_with_permutations_of_the_patches(
    form: str, sizes: tuple[int, ...]
) -> None:
    built = network(*sizes, attention=form)
    axes, x = len(sizes), draw(*sizes)

    def shuffled(field: Tensor) -> Tensor:
        tokens = cut(field, 4)
        flat = tokens.flatten(1, axes)
        order = torch.randperm(flat.shape[1], generator=torch.Generator().manual_seed(2))
        return joined(flat[:, order].reshape(tokens.shape), 4, axes)

    assert not torch.allclose(built(shuffled(x)), shuffled(built(x)), atol=1e-3)
    built.place.weight.data.zero_()
    assert torch.allclose(built(shuffled(x)), shuffled(built(x)), atol=1e-11)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("periodic", [True, False])
def test_it_converges_as_the_grid_is_refined(form: str, periodic: bool) -> None:
    ends = 0 if periodic else 1
    built = network(16 + ends, periodic=periodic, attention=form)

    def output(intervals: int) -> Tensor:
        turn = 2 * math.pi * torch.arange(intervals + ends, dtype=torch.float64) / intervals
        field = torch.stack([turn.sin(), (turn + 0.3).cos()], dim=-1)[None]
        return built(field)[:, :: intervals // 32].detach()

    limit = output(4096)
    coarse, fine = (float((output(size) - limit).abs().max()) for size in (64, 512))
    # Second order: the hats of the samples are integrated by sums over the grid, whose points do not meet
    # their kinks on a closed axis.
    assert fine < 0.06 * coarse
    assert fine < 1e-3 * float(limit.abs().max())


def test_plain_patches_transfer_where_that_is_allowed_or_avoided() -> None:
    assert ViTSpec().transfers()
    assert not ViTSpec(patches="plain").transfers()
    assert ViTSpec(patches="plain", allow_resolution_shift=True).transfers()
    assert ViTSpec(patches="plain", resample_io="bilinear").transfers()


def test_unfit_options_are_refused() -> None:
    plane = signature_of(16, 12)
    assert list(ViTSpec().faults(plane)) == []
    (problem,) = ViTSpec(patch=13).faults(plane)
    assert (problem.path, problem.message) == (
        ("patch",),
        "13 is above 12, the points of axis 'y'; lower it",
    )
    (problem,) = ViTSpec(allow_resolution_shift=True).faults(plane)
    assert problem.path == ("allow_resolution_shift",)
