"""Batches from several grids: every run once on each, in an order that can be entered anywhere."""

from collections import Counter

import numpy as np
import pytest
import torch
import xarray as xr

from koopcast.batches import ALONE, Position, Runs, Share
from koopcast.errors import ShapeMismatch
from koopcast.feeds import Batch, Feed, feed_batches, num_batches, thinning
from koopcast.fields import FieldData
from koopcast.grids import Axis, FieldsInfo, TimeAxis

PERIODIC = (Axis("y", 8, periodic=True), Axis("x", 16, periodic=True))
CLOSED = (Axis("y", 9), Axis("x", 17))


def feeds() -> list[Feed]:
    values = 1000 * np.arange(5.0)[:, None, None, None] + np.arange(16.0) + np.zeros((5, 3, 8, 16))
    dataset = xr.Dataset({"u": (("sample", "time", "y", "x"), values)})
    info = FieldsInfo({"u": "1"}, PERIODIC, TimeAxis(3, 1.0), samples=5)
    runs = Runs(FieldData(dataset, info), 2, "the data")
    return [Feed(runs.sharing(), 4, PERIODIC), Feed(runs.sharing(), 3, thinning(PERIODIC, 4)[1], 2)]


def drawn(position: Position, share: Share = ALONE) -> list[Batch]:
    return list(feed_batches(feeds(), 7, position, share))


def test_every_run_comes_once_on_every_grid() -> None:
    batches = drawn(Position(0, 0))
    assert len(batches) == num_batches(feeds()) == 3 + 4
    for feed, shape in ((0, (8, 16)), (1, (4, 8))):
        own = [batch for batch in batches if batch.feed == feed]
        assert all(batch.frames.shape[2:4] == shape for batch in own)
        firsts = Counter(int(frame) for batch in own for frame in batch.frames[:, 0, 0, 0, 0])
        assert firsts == Counter({1000 * sample: 2 for sample in range(5)})


def test_a_coarse_grid_keeps_every_second_point() -> None:
    coarse = next(batch for batch in drawn(Position(0, 0)) if batch.feed == 1)
    assert torch.equal(coarse.frames[0, 0, 0, :, 0] % 1000, torch.arange(0.0, 16.0, 2))


def test_grids_come_in_an_order_of_the_seed_and_epoch_that_can_be_entered_anywhere() -> None:
    whole = drawn(Position(2, 0))
    assert [batch.feed for batch in whole] != [batch.feed for batch in drawn(Position(3, 0))]
    for start in range(len(whole)):
        rest = drawn(Position(2, start))
        assert [batch.feed for batch in rest] == [batch.feed for batch in whole[start:]]
        pairs = zip(rest, whole[start:], strict=True)
        assert all(torch.equal(one.frames, other.frames) for one, other in pairs)


def test_processes_share_a_batch_without_gap_or_overlap() -> None:
    whole = drawn(Position(0, 0))
    parts = [drawn(Position(0, 0), Share(rank, 3)) for rank in range(3)]
    for batch, *own in zip(whole, *parts, strict=True):
        assert torch.equal(torch.cat([part.frames for part in own]), batch.frames)
        assert {part.total for part in own} == {len(batch.frames)}


def test_points_are_left_out_so_that_the_domain_stays() -> None:
    assert thinning(PERIODIC, 2) == (4, (Axis("y", 2, periodic=True), Axis("x", 4, periodic=True)))
    assert thinning(CLOSED, 5) == (2, (Axis("y", 5), Axis("x", 9)))
    for axes, points in ((PERIODIC, 3), (CLOSED, 4), (PERIODIC, 16), ((Axis("y", 9), Axis("x", 16)), 5)):
        with pytest.raises(ShapeMismatch, match="not reached by leaving out points"):
            thinning(axes, points)
