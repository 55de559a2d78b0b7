"""The serial filter: its closed form is the loop, with and without localisation."""

import pytest
import torch

from koopcast.assimilation import ensrf
from koopcast.numerics.ensembles import split
from tests.koopcast.assimilation.test_analyses import STATES, method, observed, problem, seeded

NEAR = {"kind": "gaspari_cohn", "radius": 2.0, "radius_kind": "half_support"}


def weight(distance):
    """Gaspari and Cohn's function at half-support 2 by hand, for the distances 0 to 3 of the ring of six."""
    half, one, long = 263 / 384, 5 / 24, 19 / 1152
    return {0: 1.0, 1: half, 2: one, 3: long}[min(distance % STATES, -distance % STATES)]


def looped(ensemble, index, value, variance, taper):
    """Whitaker and Hamill's loop over scalar observations, which are cells of the state."""
    mean, A = ensemble.mean(0), split(ensemble[None])[1][0]
    N1 = A.shape[0] - 1
    for cell, y, r in zip(index.tolist(), value, variance, strict=True):
        s, d = A[:, cell].clone(), y - mean[cell]
        v = s @ s / N1
        K = torch.stack([taper(x - cell) * (s @ A[:, x]) / N1 / (v + r) for x in range(STATES)])
        mean = mean + K * d
        A = A - (1 / (1 + (r / (v + r)).sqrt())) * s[:, None] * K
    return mean + A


@pytest.mark.parametrize("local", [False, True])
@pytest.mark.parametrize("members", [3, 9])
def test_the_analysis_is_the_loop_over_observations(local, members, monkeypatch):
    monkeypatch.setattr(ensrf, "BLOCK", 3)
    case = problem(members, cells=(0, 2, 3, 5, 1))
    options = {"localization": NEAR} if local else {}
    after = method("ensrf", members=members, order="given", **options)(case[0], observed(*case), seeded())
    taper = weight if local else lambda distance: 1.0
    for number in range(2):
        expected = looped(*(part[number] for part in case), taper)
        assert torch.allclose(after.ensemble[number], expected, atol=1e-11)


def test_the_order_is_drawn_for_each_analysis():
    case = problem(7, cells=(0, 2, 3, 5, 1))
    analyse = method("ensrf", members=7, localization=NEAR)
    first, second = (analyse(case[0], observed(*case), seeded(seed)).ensemble for seed in (1, 2))
    assert (first - second).abs().max() > 1e-6
    generator = seeded(1)
    again = [analyse(case[0], observed(*case), generator).ensemble for _ in range(2)]
    assert torch.equal(again[0], first)
    assert (again[0] - again[1]).abs().max() > 1e-6
