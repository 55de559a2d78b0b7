"""Patches with coarser views: what each one sees, and that nothing is lost."""

import pytest
import torch

from koopcast.errors import ShapeMismatch
from koopcast.layers.multigrid_patches import MultigridPatches


def field_of(*shape: int) -> torch.Tensor:
    return torch.randn(2, *shape, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("padding", [0.0, 0.125, 0.25])
@pytest.mark.parametrize("levels", [0, 1, 2])
@pytest.mark.parametrize("shape", [(16,), (16, 24), (8, 8, 16)])
def test_joined_patches_are_the_field(shape: tuple[int, ...], levels: int, padding: float) -> None:
    patches, field = MultigridPatches(levels, padding), field_of(*shape)
    parts = patches.split(field)
    assert parts.shape == (2 ** (levels * len(shape)), 2, *map(patches.window, shape), 3 * (levels + 1))
    assert torch.equal(patches.join(parts[..., :3], shape), field)


def test_level_0_is_the_field_itself() -> None:
    field = field_of(10, 7)
    assert torch.equal(MultigridPatches(0, 0.25).split(field), field[None])


def test_a_patch_is_a_window_of_the_periodic_field() -> None:
    field = field_of(16, 16)
    part = MultigridPatches(1, 0.125).split(field)[1]
    assert torch.equal(part[..., :3], field.roll((2, -6), (1, 2))[:, :12, :12])


def test_coarser_views_are_thinned_and_share_the_middle_of_the_patch() -> None:
    # 16 points in 4 patches of 4, 1 point of padding: patch 1 is 3..8, its middle at 6. Of every second point
    # (0, 2, ..: middle at 3) its view is 0..5, of every fourth (middle at 1) it is -2..3, around.
    line = torch.arange(16.0)[None, :, None]
    part = MultigridPatches(2, 1 / 16).split(line)[1, 0]
    assert part[:, 0].tolist() == [3, 4, 5, 6, 7, 8]
    assert part[:, 1].tolist() == [0, 2, 4, 6, 8, 10]
    assert part[:, 2].tolist() == [8, 12, 0, 4, 8, 12]


def test_patches_move_with_a_field_that_is_moved_by_whole_patches() -> None:
    patches, field = MultigridPatches(1, 0.125), field_of(16)
    assert torch.equal(patches.split(field.roll(8, 1)), patches.split(field).flip(0))


def test_a_grid_that_cannot_be_cut_is_refused() -> None:
    with pytest.raises(ShapeMismatch, match="10x16"):
        MultigridPatches(2, 0.0).split(field_of(10, 16))
