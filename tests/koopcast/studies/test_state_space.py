"""The study of diagonal state-space models: orders, spikes, a fixed outcome for a seed."""

import math

import pytest
import torch

from koopcast.studies.state_space import STEP, StateSpaceSpec, leaky_mean, smooth

SMALL = StateSpaceSpec(sizes=(4, 8), searched=(8,), order=4, steps=3, repetitions=1)


def test_a_seed_fixes_the_findings() -> None:
    first = SMALL.run(1).scores
    assert first == SMALL.run(1).scores
    assert first["increase"] != SMALL.run(2).scores["increase"]
    assert set(first["condition"]["hippo"]) == {"4", "8"}
    named = {subject for subjects in first.values() for subject in subjects}
    assert named == set(SMALL.subjects())


def test_the_searched_matrix_answers_better_than_one_without_its_low_rank_part() -> None:
    found = SMALL.diagonal(8)
    assert found["deviation"]["ptd"] < 0.25 * found["deviation"]["s4d"] < found["deviation"]["s5"]
    assert found["condition"]["s4d"] == pytest.approx(1)
    assert found["real_part"]["ptd"] < 0


def test_inputs_have_unit_variance_and_the_target_is_the_leaky_mean() -> None:
    u = smooth(4000, torch.Generator().manual_seed(0))
    assert float(u[:, 64:].std()) == pytest.approx(1, rel=0.03)
    assert float(u[:, 0].abs().max()) == 0
    # Of 1 from time 0 on: (1 - e^{-tδ}) δ / (1 - e^{-δ}) after t records.
    y = leaky_mean(torch.ones(1, 256))
    expected = STEP * (1 - math.exp(-100 * STEP)) / (1 - math.exp(-STEP))
    assert float(y[0, 99]) == pytest.approx(expected, rel=1e-5)
