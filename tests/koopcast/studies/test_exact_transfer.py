"""The exact operators of an automaton: what must be exact is, and samples converge at their rate."""

import numpy as np
import pytest
from pydantic import ValidationError

from koopcast.errors import InvalidInput
from koopcast.numerics.permutations import eigenfunctions
from koopcast.studies.exact_transfer import (
    ExactTransferSpec,
    exchange,
    indicator_regression,
    largest_residual,
)
from koopcast.systems.pca_automaton import PCAAutomatonSpec

STUDY = ExactTransferSpec()


def test_what_theory_says_holds_to_rounding() -> None:
    scores = STUDY.run(0).scores
    assert scores["orthogonality"]["update"]["all"] == 0
    assert scores["movers"]["update"]["all"] == 0
    assert scores["occupation"]["update"]["all"] == 0
    assert scores["complex_structure"]["update"]["all"] == 0
    assert scores["hamiltonian"]["update"]["all"] < 1e-12
    for metric in ("unit_circle", "roots", "expectation", "residual"):
        assert scores[metric]["update"]["all"] < 1e-12
    assert scores["parities"]["flips"]["all"] < 1e-12
    assert scores["count"]["cycles"] == {"4": 60.0, "2": 6.0, "1": 4.0}
    assert STUDY.subjects()["cycles"] == [1, 2, 4]


def test_the_regression_counts_what_follows_what_within_trajectories() -> None:
    # 0 -> 0, 0 -> 7 and 7 -> 0; a pair across the two trajectories would be 7 -> 7.
    numbers = np.array([[0, 0, 7], [7, 0, 7]])
    assert indicator_regression(numbers).tolist() == [[1 / 3, 2 / 3], [1, 0]]


def test_the_residual_of_a_wrong_composition_is_not_small(monkeypatch: pytest.MonkeyPatch) -> None:
    sigma = STUDY.system.permutation()
    assert largest_residual(sigma) < 1e-14
    pairs = list(eigenfunctions(sigma))
    wrong = np.argsort(sigma)
    monkeypatch.setattr("koopcast.studies.exact_transfer.eigenfunctions", lambda _: pairs)
    assert largest_residual(wrong) > 1


def test_studies_without_noise_or_with_too_many_bits_are_refused() -> None:
    with pytest.raises(ValidationError, match="0 leaves nothing to recover"):
        ExactTransferSpec(system=PCAAutomatonSpec(sites=2))
    with pytest.raises(ValidationError, match="10 bits are above 8"):
        ExactTransferSpec(system=PCAAutomatonSpec(sites=5, noise=0.1))


def test_an_update_without_the_symmetry_has_no_complex_structure_of_it() -> None:
    # Both movers at a site and none of them exchange: holes then do not move as movers do.
    swapped = PCAAutomatonSpec(sites=2, rule=(1, 0, 2, 3))
    assert exchange(swapped.permutation()) == {"complex_structure": 0.0, "paired": 0.0}


def test_counts_of_movers_in_blocks_are_refused_off_the_circle() -> None:
    system = PCAAutomatonSpec(sites=2)
    # Little endian: bits 0 and 1 are at site 0, 2 and 3 at site 1.
    assert system.block_counts(0, 1)[[0b0000, 0b0001, 0b0011, 0b1100]].tolist() == [0, 1, 2, 0]
    assert system.block_counts(0, 2)[0b1101] == 3
    with pytest.raises(InvalidInput, match=r"the block \[1, 3\) is no part of 2 sites"):
        system.block_counts(1, 3)
