import numpy as np
import pytest
from pydantic import ValidationError

from koopcast.samplers.dpp import DPPSpec
from koopcast.samplers.repeated_dpp import RepeatedDPPSpec
from koopcast.samplers.sobol import SobolSpec
from koopcast.samplers.volume import VolumeSpec
from koopcast.studies.least_squares import LeastSquaresSpec, Target, value_at

SMALL = LeastSquaresSpec(
    num_features=5, candidates=500, sizes=(5, 10, 12), repetitions=10,
    samplers={"dpp": DPPSpec(), "repeated": RepeatedDPPSpec(), "volume": VolumeSpec(), "sobol": SobolSpec()},
)  # fmt: skip


def test_a_sampler_is_scored_at_the_sizes_that_it_can_meet() -> None:
    assert SMALL.subjects() == {
        "dpp": [5],
        "repeated": [5, 10],
        "volume": [5, 10, 12],
        "sobol": [5, 10, 12],
    }
    scores = SMALL.run(0).scores
    assert set(scores) == set(SMALL.metrics())
    for metric in SMALL.metrics():
        assert {name: [int(n) for n in sizes] for name, sizes in scores[metric].items()} == SMALL.subjects()


def test_the_same_seed_gives_the_same_tables_and_no_ratio_is_below_one() -> None:
    one, other = SMALL.run(3), SMALL.run(3)
    assert one.tables["fits"].equals(other.tables["fits"])
    assert not one.tables["fits"].equals(SMALL.run(4).tables["fits"])
    assert (one.tables["fits"]["error_ratio"] >= 1).all()


def test_each_sampler_and_size_has_a_stream_of_its_own() -> None:
    alone = SMALL.model_copy(update={"samplers": {"volume": VolumeSpec()}, "sizes": (12,)}).run(1)
    together = SMALL.run(1)
    assert alone.scores["error_ratio"]["volume"]["12"] == together.scores["error_ratio"]["volume"]["12"]


def test_the_best_approximation_of_the_absolute_value_has_its_closed_form() -> None:
    # Of |x| on [-1, 1], 1/2 + 5/8 P₂ is the projection on quadratics; 1/3 - 1/4 - 25/64/5 = 1/192 is left.
    study = LeastSquaresSpec(num_features=3, candidates=4096, sizes=(3,))
    assert Target.of(study).best == pytest.approx(np.sqrt(1 / 192), rel=1e-5)


def test_functions_are_those_of_the_cube_from_minus_one_to_one() -> None:
    points = np.array([[0.5, 1.0], [0.0, 0.5]])
    assert value_at("abs", points).tolist() == [1, 1]
    assert np.allclose(value_at("exp", points), [np.e, 1 / np.e])
    assert np.allclose(value_at("runge", points), 1 / 26)


def test_sizes_that_a_sampler_never_meets_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"'repeated' meets none of them: .* take 20 or 40"):
        LeastSquaresSpec(sizes=(30,), samplers={"repeated": RepeatedDPPSpec()})
    with pytest.raises(ValidationError, match="'volume' meets none"):
        LeastSquaresSpec(sizes=(10,), samplers={"volume": VolumeSpec()})


@pytest.mark.claim
def test_repeated_determinantal_draws_need_fewer_points_than_independent_ones() -> None:
    scores = LeastSquaresSpec(sizes=(20, 40, 120)).run(0).scores
    error, stable = scores["error_ratio"], scores["stability"]
    assert error["repeated_dpp"]["40"] <= 1.6
    assert error["repeated_dpp"]["40"] <= 0.25 * error["christoffel"]["40"]
    assert stable["repeated_dpp"]["120"] >= 0.7
    assert stable["christoffel"]["120"] <= 0.3
    # With as many points as features a draw of volume sampling is one of the process.
    assert error["volume"]["20"] == pytest.approx(error["repeated_dpp"]["20"], rel=0.3)


@pytest.mark.claim
def test_volume_sampling_is_unbiased_and_a_conditioned_draw_stable() -> None:
    study = LeastSquaresSpec(sizes=(40,), repetitions=4000, samplers={"volume": VolumeSpec()})
    assert study.run(0).scores["bias"]["volume"]["40"] <= 4
    conditioned = LeastSquaresSpec(
        sizes=(100,),
        repetitions=50,
        samplers={"repeated_dpp": RepeatedDPPSpec(conditioning=0.5)},
    )
    assert conditioned.run(0).scores["stability"]["repeated_dpp"]["100"] == 1
