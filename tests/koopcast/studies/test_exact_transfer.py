"""The exact operators of an automaton: what must be exact is, and samples converge at their rate."""

import numpy as np
import pytest
from pydantic import ValidationError

from koopcast.numerics.permutations import eigenfunctions
from koopcast.studies.exact_transfer import ExactTransferSpec, indicator_regression, largest_residual
from koopcast.systems.pca_automaton import PCAAutomatonSpec

STUDY = ExactTransferSpec()


def test_what_theory_says_holds_to_rounding() -> None:
    scores = STUDY.run(0).scores
    assert scores["orthogonality"]["update"]["all"] == 0
    assert scores["movers"]["update"]["all"] == 0
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
