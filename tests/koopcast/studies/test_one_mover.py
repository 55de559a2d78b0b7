"""The energies and momenta of a lone mover."""

import numpy as np
import pytest

from koopcast.errors import InvalidInput
from koopcast.studies.one_mover import OneMoverSpec, dispersion, largest_gap, momenta
from koopcast.systems.automaton_states import WaveSpec
from koopcast.systems.pca_automaton import PCAAutomatonSpec, ScatteringSpec


def test_gaps_close_without_scattering_and_stay_with_it() -> None:
    scores = OneMoverSpec(sizes=[4, 12, 24]).run(0).scores
    for size in (4, 12, 24):
        assert scores["gap"]["free"][str(size)] == pytest.approx(2 * np.pi / size)
        # From one turning site to the next and back: a cycle of 4 places.
        assert scores["gap"]["scattered"][str(size)] == pytest.approx(np.pi / 2)
        assert scores["dispersion"]["free"][str(size)] < 1e-12
        assert scores["momentum"]["free"][str(size)] < 1e-12


def test_a_mover_that_scatters_has_no_energies_of_momenta() -> None:
    scattered = PCAAutomatonSpec(sites=6, scattering=ScatteringSpec(pattern="list", sites=(0,)))
    assert dispersion(scattered.one_mover()) > 0.1


def test_a_lone_mover_goes_where_the_update_takes_it() -> None:
    # Sites 0, 1, 2 with a right (even) and a left place each; movers turn round on arrival at site 0.
    system = PCAAutomatonSpec(sites=3, scattering=ScatteringSpec(pattern="list", sites=(0,)))
    assert system.one_mover().tolist() == [2, 5, 4, 0, 1, 3]
    with pytest.raises(InvalidInput, match="changes the number of movers"):
        PCAAutomatonSpec(sites=2, rule=(1, 0, 2, 3)).one_mover()


def test_a_wave_has_the_momentum_of_its_waves() -> None:
    # So wide that it is a cosine: half of the probability at each of ±k.
    q = WaveSpec(width=1e6, waves=3).amplitude(16).numpy()
    found = momenta(q)
    assert found[[3, 13]] == pytest.approx([0.5, 0.5])
    assert found.sum() == pytest.approx(1)


def test_the_gap_goes_around_the_circle() -> None:
    assert largest_gap(np.array([-0.5, 0.0, 1.0])) == pytest.approx(2 * np.pi - 1.5)
