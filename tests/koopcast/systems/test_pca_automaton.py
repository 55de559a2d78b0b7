"""The automaton of movers: hand-made steps, cycles, what is kept, flips, refusals."""

from collections import Counter

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from koopcast.errors import InvalidInput
from koopcast.generation.evolving import Run, SystemDynamics
from koopcast.integrators.exact import ExactSpec
from koopcast.numerics.permutations import configurations, cycles, matched_distance
from koopcast.rng import torch_generator
from koopcast.systems.automaton_states import ParticlesSpec, WaveSpec
from koopcast.systems.pca_automaton import PCAAutomatonSpec

FOUR = PCAAutomatonSpec(sites=4, scattering={"pattern": "list", "sites": [0, 2]})
NOWHERE = {"pattern": "none"}


def once(system: PCAAutomatonSpec, bits: list[list[int]], steps: int = 1) -> list[list[float]]:
    state = torch.tensor(bits, dtype=torch.float64).flatten()[None]
    return system.problem().advance(state, float(steps)).unflatten(1, (system.sites, -1))[0].tolist()


def test_right_movers_go_right_and_left_movers_left_round_the_circle() -> None:
    free = PCAAutomatonSpec(sites=3, scattering=NOWHERE)
    assert once(free, [[0, 1], [0, 0], [1, 0]]) == [[1, 0], [0, 0], [0, 1]]


def test_a_mover_turns_round_where_it_scatters() -> None:
    # From site 3 to 0, turned there, back at 3 as a left mover.
    assert once(FOUR, [[0, 0], [0, 0], [0, 0], [1, 0]]) == [[0, 1], [0, 0], [0, 0], [0, 0]]
    assert once(FOUR, [[0, 0], [0, 0], [0, 0], [1, 0]], 2) == [[0, 0], [0, 0], [0, 0], [0, 1]]


def test_colours_are_exchanged_where_two_movers_meet_alone() -> None:
    swap = PCAAutomatonSpec(sites=3, colours=2, rule="colour_swap")
    red_right, red_left, green_left = [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]
    empty = [0, 0, 0, 0]
    met = once(swap, [red_right, empty, green_left])
    assert met[1] == [0, 1, 1, 0]
    assert once(swap, [red_right, empty, red_left])[1] == [1, 1, 0, 0]
    assert once(swap, [red_right, empty, empty])[1] == red_right
    # The number of each colour is kept by all 16 local configurations.
    bits, rule = configurations(4), swap.local_rule()
    assert (bits[rule].reshape(16, 2, 2).sum(2) == bits.reshape(16, 2, 2).sum(2)).all()


def test_four_sites_have_60_cycles_of_length_4_6_of_2_and_4_of_1() -> None:
    assert Counter(len(cycle) for cycle in cycles(FOUR.permutation())) == {4: 60, 2: 6, 1: 4}
    S = FOUR.transfer().toarray()
    assert np.array_equal(S.T @ S, np.eye(256))
    assert matched_distance(np.linalg.eigvals(S).astype(complex), FOUR.eigenvalues()) < 1e-12


def test_a_table_is_a_rule_where_it_is_invertible() -> None:
    table = PCAAutomatonSpec(sites=2, rule=(0, 2, 1, 3))
    assert (table.permutation() == PCAAutomatonSpec(sites=2, rule="reflect").permutation()).all()
    with pytest.raises(ValidationError, match=r"\[0, 1, 1, 3\] is no permutation of 0\.\.3"):
        PCAAutomatonSpec(rule=(0, 1, 1, 3))
    with pytest.raises(ValidationError, match="no permutation"):
        PCAAutomatonSpec(rule=(0, 1, 2))


def test_local_weights_at_a_finite_temperature_are_flips() -> None:
    # e^{-β mismatch} of each pair of configurations, columns normalised.
    warm = PCAAutomatonSpec(sites=2, beta=1.3)
    bits = configurations(4)
    mismatch = (bits[:, None] != bits[warm.permutation()][None]).sum(2)
    weights = np.exp(-1.3 * mismatch)
    assert np.abs(warm.transfer().toarray() - weights / weights.sum(0)).max() < 1e-14
    cold = PCAAutomatonSpec(sites=2, beta=60.0)
    assert np.abs((cold.transfer() - PCAAutomatonSpec(sites=2).transfer()).toarray()).max() < 5 * np.exp(-60)


def test_eigenvalues_of_movers_that_turn_and_flip_have_sizes_of_parities() -> None:
    noisy = FOUR.model_copy(update={"noise": 0.05})
    sizes = np.sort(np.abs(noisy.eigenvalues()))
    assert np.abs(sizes - np.sort(0.9 ** configurations(8).sum(1))).max() < 1e-10


def test_the_number_of_movers_is_kept_in_a_long_chain() -> None:
    long = PCAAutomatonSpec(sites=4096, scattering={"pattern": "random", "density": 0.4})
    first = long.initial(3, torch.Generator().manual_seed(1))
    last = long.problem().advance(first.flatten(1), 200.0).reshape(first.shape)
    assert torch.equal(long.invariants(last)["movers"], long.invariants(first)["movers"])
    assert not torch.equal(first, last)
    assert long.model_copy(update={"noise": 0.1}).invariants(first) == {}
    # A rule that creates movers keeps no number of them.
    assert PCAAutomatonSpec(rule=(1, 0, 2, 3)).invariants(first[:, :16]) == {}


def test_flips_have_their_probability_and_each_sample_its_own_stream() -> None:
    noisy = PCAAutomatonSpec(sites=500, noise=0.2, scattering=NOWHERE)
    run = Run(noisy, ExactSpec(), steps=2)

    def stepped(samples: range) -> torch.Tensor:
        streams = [torch_generator(3, "sample", sample) for sample in samples]
        state = torch.cat([noisy.initial(1, stream) for stream in streams]).flatten(1)
        update = noisy.problem().advance(state, 1.0)
        return (SystemDynamics(run, streams=streams).step(state) != update).double()

    flipped = stepped(range(4))
    # 4000 independent flips: six standard errors.
    assert abs(float(flipped.mean()) - 0.2) < 6 * (0.16 / 4000) ** 0.5
    assert torch.equal(stepped(range(2, 4)), flipped[2:])


def test_first_configurations_obey_their_laws() -> None:
    generator = torch.Generator().manual_seed(5)
    movers = ParticlesSpec(count=3).draw(50, 6, 2, generator)
    assert movers.sum(dim=(1, 2)).tolist() == [3.0] * 50
    wave = WaveSpec(centre=5, width=1.5, waves=2)
    q2 = wave.amplitude(16).square()
    bits = wave.draw(20_000, 16, 2, generator)
    assert float(q2.sum()) == pytest.approx(1)
    assert int(q2.argmax()) == 5
    assert float((bits[:, :, 0].mean(0) - q2).abs().max()) < 6 * (0.25 / 20_000) ** 0.5
    assert float(bits[:, :, 1].sum()) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": "colour_swap"}, "needs two colours"),
        ({"noise": 0.1, "beta": 1.0}, "give one of them"),
        ({"sites": 4, "scattering": {"pattern": "list", "sites": [4]}}, "4 is not below 4"),
        ({"scattering": {"pattern": "list"}}, "give `sites` with `list` alone"),
        ({"scattering": {"pattern": "all", "sites": [1]}}, "give `sites` with `list` alone"),
        ({"sites": 2, "initial_state": {"kind": "particles", "count": 5}}, "5 movers on 4 places"),
        ({"sites": 2, "initial_state": {"kind": "wave", "centre": 2}}, "centre: 2 is not below 2"),
        ({"noise": 0.6}, "less than or equal to 0.5"),
    ],
)
def test_options_that_contradict_one_another_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PCAAutomatonSpec.model_validate(options)


def test_operators_on_too_many_configurations_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"16 bits make 2\^16 configurations"):
        PCAAutomatonSpec(sites=8).permutation()
    assert len(PCAAutomatonSpec(sites=7).eigenvalues()) == 2**14
    with pytest.raises(InvalidInput, match="at most 11 bits"):
        PCAAutomatonSpec(sites=6, noise=0.1).transfer()
