import math

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from koopcast.assimilation import AnyAnalysis
from koopcast.assimilation.base import Climatology, Observed, Setting
from koopcast.grids import Axis
from koopcast.numerics.ensembles import split
from koopcast.numerics.geometry import Domain, implied_coordinates

ADAPTER = TypeAdapter(AnyAnalysis)
STATES = 6
DOMAIN = Domain((Axis("state", STATES, "index", periodic=True),), (torch.arange(STATES).double(),))
SETTING = Setting(domain=DOMAIN)
WIDE = {"kind": "gaspari_cohn", "radius": 1e8}


def method(kind, setting=SETTING, **options):
    return ADAPTER.validate_python({"kind": kind, **options}).build(setting)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def problem(members, batch=2, seed=3, cells=(0, 2, 3)):
    """A random ensemble, observations of some cells with unequal errors, and the observation matrix."""
    g = seeded(seed)
    mix = torch.randn(STATES, STATES, generator=g, dtype=torch.float64)
    ensemble = torch.randn(batch, members, STATES, generator=g, dtype=torch.float64) @ mix + 1.5
    index = torch.tensor(cells).expand(batch, -1)
    value = torch.randn(batch, len(cells), generator=g, dtype=torch.float64)
    variance = 0.3 + torch.rand(batch, len(cells), generator=g, dtype=torch.float64)
    return ensemble, index, value, variance


def observed(ensemble, index, value, variance):
    predicted = ensemble.gather(2, index[:, None].expand(-1, ensemble.shape[1], -1))
    return Observed.of(value, variance, predicted, index)


def covariance(ensemble):
    A = split(ensemble)[1]
    return A.mT @ A / (ensemble.shape[1] - 1)


def kalman(ensemble, index, value, variance):
    """Mean and covariance of the Kalman filter whose background is the sampled Gaussian."""
    H = torch.nn.functional.one_hot(index, STATES).double()
    P, mean = covariance(ensemble), ensemble.mean(1)
    S = H @ P @ H.mT + torch.diag_embed(variance)
    K = torch.linalg.solve(S, H @ P).mT
    d = value - (H @ mean[..., None])[..., 0]
    chi = (d[:, None] @ torch.linalg.solve(S, d[..., None]))[:, 0, 0]
    freedom = (H @ K).diagonal(dim1=1, dim2=2).sum(1)
    return mean + (K @ d[..., None])[..., 0], P - K @ H @ P, freedom, chi


DETERMINISTIC = [
    ("etkf", {"rotation": False}),
    ("etkf", {"rotation": True}),
    ("letkf", {"localization": "none"}),
    ("letkf", {"localization": WIDE}),
    ("letkf", {"localization": WIDE, "rotation": True}),
    ("ensrf", {}),
    ("ensrf", {"order": "given"}),
    ("ensrf", {"rotation": True}),
    ("ensrf", {"localization": WIDE}),
    ("ensrf", {"localization": WIDE, "order": "given"}),
]


@pytest.mark.parametrize(("kind", "options"), DETERMINISTIC)
@pytest.mark.parametrize("members", [4, 20])
def test_a_deterministic_filter_gives_the_kalman_mean_and_covariance(kind, options, members):
    case = problem(members)
    mean, P, freedom, _ = kalman(*case)
    analysis = method(kind, members=members, **options)(case[0], observed(*case), seeded())
    assert torch.allclose(analysis.ensemble.mean(1), mean, atol=1e-10, rtol=0)
    assert torch.allclose(covariance(analysis.ensemble), P, atol=1e-10, rtol=0)
    assert torch.allclose(analysis.figures["degrees_of_freedom"], freedom, atol=1e-9)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("etkf", {}),
        ("etkf", {"rotation": True}),
        ("enkf", {}),
        ("enkf", {"localization": WIDE}),
        ("denkf", {}),
        ("denkf", {"localization": WIDE}),
        ("ensrf", {}),
    ],
)
def test_chi_square_is_the_innovation_in_its_own_covariance(kind, options):
    case = problem(9)
    _, _, freedom, chi = kalman(*case)
    figures = method(kind, members=9, **options)(case[0], observed(*case), seeded()).figures
    assert torch.allclose(figures["chi_square"], chi, atol=1e-9)
    assert torch.allclose(figures["degrees_of_freedom"], freedom, atol=1e-9)


@pytest.mark.parametrize("options", [{}, {"localization": WIDE}])
def test_the_enkf_tends_to_the_kalman_answer_as_members_grow(options):
    members = 40_000
    case = problem(members, batch=1)
    mean, P, _, _ = kalman(*case)
    ensemble = method("enkf", members=members, **options)(case[0], observed(*case), seeded(1)).ensemble
    # Centred perturbations leave the mean exact; the covariance has standard errors √((P_ii P_jj + P_ij²)/N).
    assert torch.allclose(ensemble.mean(1), mean, atol=1e-9)
    variance = P.diagonal(dim1=1, dim2=2)
    error = ((variance[:, :, None] * variance[:, None] + P**2) / members).sqrt()
    assert ((covariance(ensemble) - P).abs() < 6 * error).all()


def test_perturbations_have_the_covariance_of_the_error_member_by_member():
    # One cell, a background without spread at 0, R = 4: innovations are the perturbations over 2.
    batch, members = 4000, 3
    still = torch.zeros(batch, members, 1, dtype=torch.float64)
    seen = Observed.of(still[:, 0], torch.full_like(still[:, 0], 4.0), still)
    drawn = ADAPTER.validate_python("enkf").innovations(seen, seeded(6))
    assert drawn.sum(1).abs().max() < 1e-12
    assert torch.allclose(drawn.square().mean(0), torch.ones(3, 1).double(), atol=6 * (2 / batch) ** 0.5)


def test_the_etkf_transform_is_the_symmetric_root():
    # T = (I + C Cᵀ/(N-1))^{-1/2} turns the anomalies, and of all roots it moves the members least.
    case = problem(5, batch=1)
    seen = observed(*case)
    C = split(seen.predicted)[1] * seen.scale[:, None]
    eigenvalues, V = torch.linalg.eigh(torch.eye(5).double() + C @ C.mT / 4)
    T = V @ torch.diag_embed(eigenvalues.rsqrt()) @ V.mT
    A = split(method("etkf", members=5)(case[0], seen, seeded()).ensemble)[1]
    assert torch.allclose(A, T @ split(case[0])[1], atol=1e-10)


def test_the_letkf_with_a_wide_taper_equals_the_etkf_member_by_member():
    case = problem(5)
    etkf, letkf = (
        method(kind, members=5, **options)(case[0], observed(*case), seeded()).ensemble
        for kind, options in (("etkf", {}), ("letkf", {"localization": WIDE}))
    )
    assert torch.allclose(etkf, letkf, atol=1e-9, rtol=0)


def test_the_letkf_at_a_point_is_the_etkf_with_tapered_errors():
    radius = {"kind": "gaspari_cohn", "radius": 2.0, "radius_kind": "half_support"}
    ensemble, index, value, variance = problem(5)
    local = method("letkf", members=5, localization=radius)(
        ensemble, observed(ensemble, index, value, variance), seeded()
    )
    # Around point 1 the observed points 0, 2, 3 are at the distances 1, 1, 2: r = 1/2, 1/2, 1.
    half = 1 - 5 / 3 / 4 + 5 / 8 / 8 + 1 / 2 / 16 - 1 / 4 / 32
    taper = torch.tensor([half, half, 5 / 24]).double()
    tapered = observed(ensemble, index, value, variance / taper)
    assert torch.allclose(
        local.ensemble[..., 1],
        method("etkf", members=5)(ensemble, tapered, seeded()).ensemble[..., 1],
        atol=1e-10,
    )


def test_a_far_observation_leaves_a_point_untouched():
    radius = {"kind": "gaspari_cohn", "radius": 2.0, "radius_kind": "support"}
    case = problem(8, cells=(0,))
    for kind in ("letkf", "enkf"):
        after = method(kind, members=8, localization=radius)(case[0], observed(*case), seeded()).ensemble
        assert torch.allclose(after[..., 2:5], case[0][..., 2:5], atol=1e-12)
        assert (after[..., [0, 1, 5]] - case[0][..., [0, 1, 5]]).abs().min() > 1e-6


def test_channels_of_a_point_share_its_local_analysis():
    pair = Domain((Axis("x", 3, periodic=True, length=3.0),), (torch.arange(3).double(),))
    case = problem(5)
    case = (case[0], torch.tensor([0, 3]).expand(2, -1), *(part[:, :2] for part in case[2:]))
    setting = Setting(domain=pair, num_channels=2)
    wide = method("letkf", setting, members=5, localization=WIDE)(case[0], observed(*case), seeded()).ensemble
    etkf = method("etkf", members=5)(case[0], observed(*case), seeded()).ensemble
    assert torch.allclose(wide, etkf, atol=1e-9)
    near = {"kind": "gaspari_cohn", "radius": 1.0, "radius_kind": "support"}
    local = method("letkf", setting, members=5, localization=near)(
        case[0], observed(*case), seeded()
    ).ensemble
    changed = (local - case[0]).abs().amax(dim=(0, 1)) > 1e-9
    assert changed.tolist() == [True] * 4 + [False] * 2  # cells 0 and 3 lie at the points 0 and 1


def test_chunks_of_points_give_the_same_analysis(monkeypatch):
    case = problem(5)
    whole = method("letkf", members=5)(case[0], observed(*case), seeded()).ensemble
    monkeypatch.setattr("koopcast.assimilation.letkf.CHUNK_BYTES", 24 * 2 * 25 * 4)
    parts = method("letkf", members=5)(case[0], observed(*case), seeded()).ensemble
    assert torch.allclose(whole, parts, atol=1e-13)


ALL = [
    *DETERMINISTIC,
    ("enkf", {}),
    ("enkf", {"localization": WIDE}),
    ("letkf", {}),
    ("denkf", {}),
    ("denkf", {"localization": "gaspari_cohn"}),
    ("ensrf", {"localization": "gaspari_cohn", "order": "given"}),
    ("enkf_n", {}),
    ("enkf_n", {"covariance": "hessian"}),
]


def is_drawn(case):
    """Whether members depend on draws that depend on the number of observations."""
    return case[0] == "enkf" or (case[0] == "ensrf" and case[1].get("order") != "given")


@pytest.mark.parametrize(("kind", "options"), [("free_run", {}), *ALL])
def test_observations_without_information_leave_the_ensemble(kind, options):
    case = problem(6)
    vague = observed(*case[:3], torch.full_like(case[3], 1e12))
    after = method(kind, members=6, **options)(case[0], vague, seeded()).ensemble
    if not options.get("rotation"):
        assert torch.allclose(after, case[0], atol=1e-4)
    assert torch.allclose(after.mean(1), case[0].mean(1), atol=1e-4)
    assert torch.allclose(covariance(after), covariance(case[0]), atol=1e-4)


@pytest.mark.parametrize(("kind", "options"), [case for case in ALL if not is_drawn(case)])
def test_a_missing_observation_is_an_absent_one(kind, options):
    ensemble, index, value, variance = problem(6)
    gap = value.clone()
    gap[:, 1] = torch.nan
    keep = [0, 2]
    with_gap = method(kind, members=6, **options)(
        ensemble, observed(ensemble, index, gap, variance), seeded()
    )
    without = method(kind, members=6, **options)(
        ensemble, observed(ensemble, index[:, keep], value[:, keep], variance[:, keep]), seeded()
    )
    assert torch.allclose(with_gap.ensemble, without.ensemble, atol=1e-11)
    for name, figure in without.figures.items():
        assert torch.allclose(with_gap.figures[name], figure, atol=1e-9)


@pytest.mark.parametrize("options", [{}, {"localization": WIDE}])
def test_a_missing_observation_does_not_move_the_mean_of_the_enkf(options):
    ensemble, index, value, variance = problem(6)
    value[:, 1] = torch.nan
    after = method("enkf", members=6, **options)(
        ensemble, observed(ensemble, index, value, variance), seeded()
    )
    keep = [0, 2]
    mean, *_ = kalman(ensemble, index[:, keep], value[:, keep], variance[:, keep])
    assert torch.allclose(after.ensemble.mean(1), mean, atol=1e-9)


@pytest.mark.parametrize(("kind", "options"), [case for case in ALL if case[0] != "enkf"])
def test_a_batch_of_experiments_equals_each_alone(kind, options):
    case = problem(6, batch=3)
    together = method(kind, members=6, **options)(case[0], observed(*case), seeded()).ensemble
    for number in range(3):
        one = tuple(part[number : number + 1] for part in case)
        alone = method(kind, members=6, **options)(one[0], observed(*one), seeded()).ensemble
        assert torch.allclose(together[number], alone[0], atol=1e-12, rtol=0)


def test_experiments_may_have_sites_of_their_own():
    ensemble, _, value, variance = problem(6, batch=2)
    index = torch.tensor([[0, 2, 3], [5, 1, 4]])
    for kind in ("letkf", "enkf", "optimal_interpolation"):
        setting = Setting(domain=DOMAIN, climatology=Climatology(ensemble[0], ensemble[0]))
        options = (
            {}
            if kind == "optimal_interpolation"
            else {"members": 6, "localization": {"kind": "gaspari_cohn", "radius": 1.0}}
        )
        both = method(kind, setting, **options)(
            ensemble, observed(ensemble, index, value, variance), seeded()
        ).ensemble
        rows = slice(0, 1)
        first = (ensemble[rows], index[rows], value[rows], variance[rows])
        alone = method(kind, setting, **options)(first[0], observed(*first), seeded())
        # The perturbations of the EnKF are drawn for the batch: its means alone agree.
        assert torch.allclose(both[:1].mean(1), alone.ensemble.mean(1), atol=1e-11)


def test_rotations_differ_and_keep_mean_and_covariance():
    case = problem(7)
    plain = method("etkf", members=7)(case[0], observed(*case), seeded()).ensemble
    for inflation in ("none", {"kind": "rtps", "factor": 0.4}, {"kind": "multiplicative", "factor": 1.1}):
        first, second = (
            method("etkf", members=7, rotation=True, inflation=inflation)(
                case[0], observed(*case), seeded(s)
            ).ensemble
            for s in (1, 2)
        )
        assert not torch.allclose(first, second, atol=1e-3)
        assert torch.allclose(covariance(first), covariance(second), atol=1e-11)
        assert torch.allclose(first.mean(1), plain.mean(1), atol=1e-11)


def test_optimal_interpolation_is_the_kalman_update_of_climatology_and_forgets_the_background():
    case = problem(30, batch=1)
    records = case[0][0]
    setting = Setting(climatology=Climatology(records, records))
    mean, P, freedom, chi = kalman(*case)
    for background in (case[0][:, :1], case[0][:, 1:2] + 7):
        analysis = method("optimal_interpolation", setting)(
            background, observed(background, *case[1:]), seeded()
        )
        assert torch.allclose(analysis.ensemble[:, 0], mean, atol=1e-10)
        assert torch.allclose(analysis.std, P.diagonal(dim1=1, dim2=2).sqrt(), atol=1e-10)
        assert torch.allclose(analysis.figures["degrees_of_freedom"], freedom, atol=1e-10)
        assert torch.allclose(analysis.figures["chi_square"], chi, atol=1e-10)


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "etkf", "localization": "none"},
        {"kind": "etkf", "members": 1},
        {"kind": "etkf", "members": 2, "rotation": True},
        {"kind": "etkf", "inflation": {"kind": "rtps", "factor": 1.2}},
        {"kind": "etkf", "inflation": {"kind": "multiplicative", "factor": 0}},
        {"kind": "letkf", "localization": {"kind": "gaspari_cohn", "radius": 0}},
        {"kind": "optimal_interpolation", "members": 3},
    ],
)
def test_options_that_mean_nothing_are_refused(options):
    with pytest.raises(ValidationError):
        ADAPTER.validate_python(options)


def test_coordinates_are_implied_where_none_are_given():
    assert implied_coordinates(Axis("x", 4, periodic=True, length=2.0)).tolist() == [0, 0.5, 1, 1.5]
    assert math.isclose(float(implied_coordinates(Axis("x", 5, length=2.0))[-1]), 2.0)
