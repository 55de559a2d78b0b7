import numpy as np
import pytest
from pydantic import ValidationError

from koopcast.samplers import Rows
from koopcast.samplers.iid import IIDSpec
from koopcast.samplers.lp import LpSpec
from koopcast.samplers.sobol import SobolSpec
from koopcast.studies.subspace_embedding import Norms, SubspaceEmbeddingSpec, draw_matrix

SMALL = SubspaceEmbeddingSpec(
    matrix="heavy_tailed", rows=800, columns=4, sizes=(60, 400), repetitions=20, directions=50
)


def scores_of(p: float, *scores: str, repetitions: int) -> dict[str, float]:
    """Return the median error on the spiky matrix from 200 rows, by score, with the rates of the paper."""
    samplers = {score: {"kind": "lp", "p": p, "score": score, "fill": False} for score in scores}
    study = SubspaceEmbeddingSpec.model_validate({"p": p, "repetitions": repetitions, "samplers": samplers})
    return {name: sizes["200"] for name, sizes in study.run(0).scores["error_median"].items()}


def test_more_rows_keep_norms_better_and_the_same_seed_gives_the_same_table() -> None:
    one, other = SMALL.run(0), SMALL.run(0)
    assert one.tables["draws"].equals(other.tables["draws"])
    for name in SMALL.samplers:
        assert one.scores["error_median"][name]["400"] < one.scores["error_median"][name]["60"]
        assert one.scores["error_median"][name]["60"] <= one.scores["error_q90"][name]["60"]


def test_all_rows_keep_every_norm_exactly() -> None:
    study = SubspaceEmbeddingSpec(
        rows=800, columns=4, sizes=(800,), refinements=2, repetitions=1,
        samplers={"all": LpSpec(p=1.5)},
    )  # fmt: skip
    assert study.run(0).scores["error_q90"]["all"]["800"] < 1e-12


def test_the_worst_direction_at_two_is_an_eigenvector() -> None:
    # For p = 2 the worst error over all x is that of the extreme eigenvalues of Uᵀ W U.
    A = draw_matrix("heavy_tailed", 400, 3, np.random.default_rng(0))
    rows = LpSpec().rows(A, 40, np.random.default_rng(1))
    norms = Norms.of(SubspaceEmbeddingSpec(p=2, directions=1, samplers={"all": LpSpec()}), A, seed=0)
    U = np.linalg.qr(A).Q[rows.index]
    eigenvalues = np.linalg.eigvalsh((U.T * rows.weight * 400 / 40) @ U)
    exact = np.abs(eigenvalues - 1).max()
    assert norms.worst_error(rows, 40, refinements=1) == pytest.approx(exact, rel=1e-6)
    assert norms.worst_error(rows, 40, refinements=0) <= exact


def test_a_subset_without_a_direction_is_wholly_wrong_there() -> None:
    A = np.zeros((300, 2))
    A[:, 0], A[7, 1] = 1.0, 1.0
    index = np.arange(100, 200)
    norms = Norms.of(SubspaceEmbeddingSpec(directions=5), A, seed=0)
    assert norms.worst_error(Rows(index, np.ones(100)), 100, refinements=0) == pytest.approx(1)


def test_the_spiky_matrix_has_rare_rows_and_outliers() -> None:
    A = draw_matrix("spiky", 4000, 8, np.random.default_rng(0))
    assert np.count_nonzero(A[:, 4:].any(axis=1)) == 40
    lengths = np.sort(np.linalg.norm(A[:, :4], axis=1))
    assert lengths[-4] > 2 * lengths[-5]


def test_options_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"'a' has p = 2, the study 1\.5"):
        SubspaceEmbeddingSpec(samplers={"a": LpSpec()})
    with pytest.raises(ValidationError, match=r"'a' \(sobol\) chooses no rows"):
        SubspaceEmbeddingSpec(samplers={"a": SobolSpec()})
    with pytest.raises(ValidationError, match=r"'leverage': 4 rows cannot keep norms of 8 features"):
        SubspaceEmbeddingSpec(sizes=(4,))
    with pytest.raises(ValidationError, match="5000 of 4000 rows"):
        SubspaceEmbeddingSpec(sizes=(5000,), samplers={"a": IIDSpec()})


@pytest.mark.claim
def test_below_two_the_root_of_leverage_beats_leverage() -> None:
    error = scores_of(1.5, "uniform", "leverage", "root_leverage", repetitions=300)
    assert error["root_leverage"] <= 0.8 * error["leverage"]
    assert error["root_leverage"] <= 0.35 * error["uniform"]


@pytest.mark.claim
def test_above_two_leverage_plus_sensitivity_wins_and_the_root_of_leverage_loses() -> None:
    error = scores_of(
        3.0, "uniform", "root_leverage", "sensitivity", "leverage_plus_sensitivity", repetitions=300
    )
    mixture = error["leverage_plus_sensitivity"]
    assert mixture <= 1.05 * error["sensitivity"]
    assert mixture <= 0.15 * error["uniform"]
    assert error["root_leverage"] > 1.5 * mixture
