import itertools

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sparse
from pydantic import ValidationError
from scipy.sparse.linalg import gcrotmk

from koopcast.linear import LinearProblem, Profile, Status
from koopcast.solvers.base import solve_all
from koopcast.solvers.gcro_dr import GCRODRSpec
from koopcast.solvers.skr import SKRSpec
from koopcast.solvers.sorting import fft_gray, gray_rank, greedy, low_frequencies

RNG = np.random.default_rng
GENERAL = Profile((400,), is_symmetric=False)


def mean_applications(spec, problems):
    return np.mean([solution.applications for _, solution in solve_all(spec, GENERAL, problems, RNG(0))])


def smooth_sequence(spectral, step, count=8):
    """Return systems with six small eigenvalues, whose vectors turn slowly with one number."""
    A = spectral(np.concatenate([np.linspace(0.02, 0.05, 6), np.linspace(1, 4, 144)]))
    turn = RNG(1).standard_normal((150, 150))
    turns = [scipy.linalg.expm(step * t * (turn - turn.T) / 17) for t in range(count)]
    return [
        LinearProblem(sparse.csr_array(Q @ A @ Q.T), RNG(t).standard_normal(150), np.array([float(t)]))
        for t, Q in enumerate(turns)
    ]


def test_recycling_along_a_smooth_sequence_saves_applications(spectral):
    problems = smooth_sequence(spectral, 1e-4)
    alone = mean_applications(GCRODRSpec(m=16, k=6), problems)
    carried = mean_applications(SKRSpec(m=16, k=6), problems)
    assert carried < 0.6 * alone


def test_the_same_matrix_needs_no_applications_to_make_the_image_anew(laplacian):
    A, rng = laplacian(20), RNG(2)
    solver = SKRSpec(m=16, k=6, sort="none").build(GENERAL, rng)
    for matrix, extra in ((A, 1), (A, 1), (sparse.csr_array(A), 7), (A, 7)):
        solution = solver.solve(LinearProblem(matrix, rng.standard_normal(400)))
        assert solution.applications - solution.iterations in (extra, extra + 1)


def test_delta_is_one_at_first_and_then_in_proportion_to_the_turn_of_the_small_eigenvectors(spectral):
    def deltas(step):
        solver = SKRSpec(m=30, k=6, sort="none", tolerance=1e-12).build(GENERAL, RNG(0))
        return [solver.solve(problem).figures["delta"] for problem in smooth_sequence(spectral, step)]

    slow, fast = deltas(1e-5), deltas(1e-4)
    assert slow[0] == fast[0] == 1.0
    assert fast[-1] < 0.1
    assert fast[-1] == pytest.approx(10 * slow[-1], rel=0.1)


def test_both_engines_agree_with_scipy(windy):
    problems = [LinearProblem(windy(20, b, 0.5), RNG(3).standard_normal(400)) for b in (0.2, 0.4)]
    for engine in ("gcro_dr", "gcrotmk"):
        spec = SKRSpec(m=20, k=8, tolerance=1e-10, engine=engine, sort="none")
        for place, solution in solve_all(spec, GENERAL, problems, RNG(0)):
            A, b = problems[place].matrix, problems[place].rhs
            reference, failed = gcrotmk(A, b, rtol=1e-10, atol=0.0, m=20, k=8)
            assert failed == 0
            assert np.linalg.norm(solution.value - reference) <= 1e-8 * np.linalg.norm(reference)


def test_a_system_of_another_size_starts_anew(windy):
    for engine in ("gcro_dr", "gcrotmk"):
        solver = SKRSpec(m=12, k=4, engine=engine).build(GENERAL, RNG(0))
        for n in (10, 12):
            solution = solver.solve(LinearProblem(windy(n, 0.2, 0.1), np.ones(n * n)))
            assert solution.status is Status.CONVERGED


def test_greedy_takes_the_nearest_of_what_is_left():
    features = RNG(4).standard_normal((40, 3))
    order = greedy(features)
    assert sorted(order) == list(range(40))
    assert order[0] == 0
    for place, (last, following) in enumerate(itertools.pairwise(order)):
        rest = order[place + 1 :]
        gaps = np.linalg.norm(features[rest] - features[last], axis=1)
        assert gaps.min() == pytest.approx(np.linalg.norm(features[following] - features[last]))


def test_greedy_is_a_permutation_whatever_the_distances():
    far = 1e9 * RNG(5).standard_normal((9, 2))
    same = np.ones((9, 2))
    for features in (far, same):
        assert sorted(greedy(features)) == list(range(9))


def test_neighbouring_cells_of_the_gray_code_differ_in_one_bit():
    codes = np.array(list(itertools.product((0, 1), repeat=5)))
    walk = codes[np.argsort(gray_rank(codes))]
    assert sorted(gray_rank(codes)) == list(range(32))
    assert (np.abs(np.diff(walk, axis=0)).sum(axis=1) == 1).all()


def test_the_low_frequencies_of_a_field_are_the_centre_of_its_shifted_spectrum():
    x = np.arange(16) / 16
    field = 3 + np.cos(2 * np.pi * x)[:, None] + np.sin(2 * np.pi * 2 * x)[None, :] + 0 * x[:, None]
    rows = low_frequencies(field.reshape(1, -1), (16, 16), 4)
    real, imaginary = np.split(rows[0].reshape(-1), 2)
    # Frequencies -2..1 along each axis: the mean at (2, 2), cosine at (1, 2) and (3, 2), sine at (2, 0).
    expected = np.zeros((4, 4))
    expected[2, 2], expected[1, 2], expected[3, 2] = 3, 0.5, 0.5
    assert np.allclose(real.reshape(4, 4), 256 * expected, atol=1e-10)
    sine = np.zeros((4, 4))
    sine[2, 0] = 0.5
    assert np.allclose(imaginary.reshape(4, 4), 256 * sine, atol=1e-10)


def test_fft_gray_keeps_families_of_fields_together():
    x = np.arange(12) / 12
    waves = [np.cos(2 * np.pi * k * x)[:, None] * np.ones(12) for k in (0, 1, 2, 3)]
    rng = RNG(6)
    family = rng.integers(0, 4, 60)
    fields = np.stack([(waves[f] + 0.01 * rng.standard_normal((12, 12))).ravel() for f in family])
    order = fft_gray(fields, (12, 12), 12, 7)
    assert sorted(order) == list(range(60))
    assert np.count_nonzero(np.diff(family[order])) == 3


def test_the_order_shortens_the_chain_by_either_sort():
    rng = RNG(7)
    features = [rng.random(3) for _ in range(200)]

    def length(spec):
        chain = np.stack(features)[spec.order(GENERAL, features)]
        return np.linalg.norm(np.diff(chain, axis=0), axis=1).sum()

    raw, cells, near = (length(SKRSpec(sort=sort)) for sort in ("none", "fft_gray", "greedy"))
    assert near < cells < 0.5 * raw


def test_sequences_too_large_for_a_greedy_sort_are_sorted_by_cells(monkeypatch):
    import koopcast.solvers.skr as module

    features = [RNG(number).random(4) for number in range(30)]
    cells = SKRSpec(sort="fft_gray").order(GENERAL, features)
    assert not np.array_equal(SKRSpec().order(GENERAL, features), cells)
    monkeypatch.setattr(module, "GREEDY_LIMIT", 30 * 30 - 1)
    assert np.array_equal(SKRSpec().order(GENERAL, features), cells)


def test_a_sort_is_refused_where_one_matrix_serves_all():
    shared = Profile((400,), is_symmetric=False, is_shared=True)
    assert "sort: none" in SKRSpec().refusal(shared)
    assert SKRSpec(sort="none").refusal(shared) is None


@pytest.mark.parametrize(
    "options", [{"m": 40, "k": 39}, {"engine": "hpddm"}, {"sort": "hilbert"}, {"shard": 2}]
)
def test_options_that_do_not_exist_are_refused(options):
    with pytest.raises(ValidationError):
        SKRSpec(**options)
