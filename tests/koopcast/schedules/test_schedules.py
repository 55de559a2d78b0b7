"""Schedules by hand values and against torch."""

import pytest
import torch

from koopcast.schedules import ConstantSpec, CosineSpec, OneCycleSpec


def test_constant_is_one() -> None:
    assert {ConstantSpec().factor(step, 7) for step in range(7)} == {1.0}


def test_cosine_rises_linearly_and_falls_to_its_final_factor() -> None:
    schedule = CosineSpec(warmup=0.2, final=0.1)
    # 4 of 20 steps rise; then 15 intervals of half a cosine, whose middle lies between steps 11 and 12.
    assert [schedule.factor(step, 20) for step in range(5)] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert schedule.factor(19, 20) == pytest.approx(0.1)
    assert (schedule.factor(11, 20) + schedule.factor(12, 20)) / 2 == pytest.approx(0.55)
    assert CosineSpec(warmup=0).factor(0, 20) == 1.0


@pytest.mark.parametrize("num_steps", [10, 37, 500])
def test_one_cycle_is_that_of_torch(num_steps: int) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.02, total_steps=num_steps)
    for step in range(num_steps):
        assert 0.02 * OneCycleSpec().factor(step, num_steps) == pytest.approx(
            theirs.get_last_lr()[0], rel=1e-9
        )
        optimizer.step()
        if step < num_steps - 1:
            theirs.step()


@pytest.mark.parametrize(
    "schedule", [ConstantSpec(), CosineSpec(), OneCycleSpec()], ids=lambda item: item.kind
)
@pytest.mark.parametrize("num_steps", [1, 2, 3, 10])
def test_short_trainings_get_factors_between_zero_and_one(schedule: ConstantSpec, num_steps: int) -> None:
    assert all(0 <= schedule.factor(step, num_steps) <= 1 for step in range(num_steps))
