"""Background error covariances: roots, hand values and reductions."""

import math

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from koopcast.assimilation.backgrounds import AnyBackground
from koopcast.assimilation.base import Climatology, Setting
from koopcast.assimilation.localization import GaspariCohnSpec
from koopcast.errors import EmptySelection
from koopcast.grids import Axis
from koopcast.numerics.ensembles import split
from koopcast.numerics.geometry import Domain, distances, implied_coordinates

ADAPTER = TypeAdapter(AnyBackground)
SHAPE, CHANNELS = (4, 5), 2
SIZE = math.prod(SHAPE) * CHANNELS
AXES = (Axis("y", 4, "cartesian"), Axis("x", 5, "cartesian", periodic=True))
DOMAIN = Domain(AXES, tuple(implied_coordinates(axis) for axis in AXES))


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


STATES = normal(90, SIZE, seed=1) @ normal(SIZE, SIZE, seed=2) + 3
ACTIVE = torch.ones(SIZE, dtype=torch.float64)
SETTING = Setting(DOMAIN, CHANNELS, ACTIVE, Climatology(STATES, STATES), step=lambda x: 0.9 * x)
ENSEMBLE = normal(3, 6, SIZE, seed=3)
TAPER = {"kind": "gaspari_cohn", "radius": 0.9, "radius_kind": "half_support"}
ALL = [
    "diagonal",
    {"kind": "diagonal", "std": 2.0, "factor": 0.25},
    "climatological",
    "nmc",
    "diffusion",
    {"kind": "diffusion", "spectrum": "gaussian", "length": 0.8},
    "ensemble",
    {"kind": "ensemble", "localization": TAPER, "factor": 0.3},
    "hybrid",
    {"kind": "hybrid", "static": "diffusion", "ensemble": {"kind": "ensemble", "localization": TAPER}},
]


def build(options, setting=SETTING):
    return ADAPTER.validate_python(options).build(setting)


def correlations(points=True):
    every = torch.arange(math.prod(SHAPE))
    return distances(DOMAIN, every, every)


@pytest.mark.parametrize("options", ALL)
def test_root_transpose_and_columns_belong_to_one_matrix(options):
    B = build(options)(ENSEMBLE)
    v, x = normal(3, 7, B.rank, seed=4), normal(3, 7, SIZE, seed=5)
    # <B^{1/2} v, x> = <v, B^{T/2} x>
    left, right = (B.root(v) * x).sum(2), (v * B.transposed(x)).sum(2)
    assert torch.allclose(left, right, rtol=1e-11, atol=1e-11)
    assert torch.allclose(B.root(v), v @ B.columns(), atol=1e-11)
    assert torch.allclose(B.root(B.transposed(x)), x @ B.matrix(), atol=1e-9)


def test_the_diagonal_holds_given_or_climatological_variances():
    assert torch.equal(build(ALL[1])(ENSEMBLE).matrix()[0], torch.eye(SIZE).double())
    expected = torch.diag(STATES.var(dim=0))
    assert torch.allclose(build("diagonal")(ENSEMBLE).matrix()[0], expected)


@pytest.mark.parametrize("count", [90, 12])
def test_the_climatological_covariance_is_the_sampled_one(count):
    setting = Setting(climatology=Climatology(STATES[:count], STATES[:count]))
    B = build({"kind": "climatological", "factor": 0.02}, setting)(ENSEMBLE)
    assert B.rank == min(count, SIZE)
    assert torch.allclose(B.matrix()[0], 0.02 * torch.cov(STATES[:count].T), atol=1e-10)


def test_nmc_differences_of_a_linear_model_have_the_covariance_of_their_errors():
    # x ← 0.9 x: a difference is 0.9^8 ε - 0.9^4 ε', both ε with a tenth of the climatological deviation.
    B = build({"kind": "nmc", "pairs": 20_000})(ENSEMBLE).matrix()[0]
    expected = (0.9**16 + 0.9**8) / 2 * 0.01 * STATES.var(dim=0)
    # The standard error of a sampled variance is √(2/n) of it: 1 %.
    assert torch.allclose(B.diagonal(), expected, rtol=0.06)
    scaled = B / expected.sqrt() / expected.sqrt()[:, None]
    assert (scaled - torch.eye(SIZE)).abs().max() < 0.06


def test_a_localised_ensemble_covariance_is_the_sampled_one_times_the_taper():
    B = build({"kind": "ensemble", "localization": TAPER, "kept": 1.0})(ENSEMBLE).matrix()
    A = split(ENSEMBLE)[1]
    weights = GaspariCohnSpec(**TAPER).weight(correlations())
    weights = weights.repeat_interleave(CHANNELS, 0).repeat_interleave(CHANNELS, 1)
    assert torch.allclose(B, A.mT @ A / 5 * weights, atol=1e-10)
    plain = build("ensemble")(ENSEMBLE).matrix()
    assert torch.allclose(plain, A.mT @ A / 5, atol=1e-12)


def test_fewer_modes_of_the_taper_keep_variances():
    full, few = (
        build({"kind": "ensemble", "localization": TAPER, "kept": kept})(ENSEMBLE) for kept in (1.0, 0.5)
    )
    assert few.rank < full.rank / 2
    variances = (B.matrix().diagonal(dim1=1, dim2=2) for B in (full, few))
    assert torch.allclose(*variances, rtol=1e-10)


def test_a_hybrid_is_the_weighted_sum():
    options = {"kind": "hybrid", "weight": 0.3, "static": "climatological"}
    expected = 0.3 * build("climatological")(ENSEMBLE).matrix() + 0.7 * build("ensemble")(ENSEMBLE).matrix()
    assert torch.allclose(build(options)(ENSEMBLE).matrix(), expected, atol=1e-10)


def test_diffusion_has_unit_correlations_that_fall_with_distance_and_never_join_channels():
    B = build({"kind": "diffusion", "std": 3.0, "length": 1.0})(ENSEMBLE).matrix()[0]
    assert torch.allclose(B.diagonal(), torch.full((SIZE,), 9.0, dtype=torch.float64))
    fields = B.reshape(20, CHANNELS, 20, CHANNELS) / 9
    assert fields[:, 0, :, 1].abs().max() == 0
    row = fields[0, 0, :, 0].reshape(SHAPE)
    assert (row[:, 0].diff() < 0).all()
    # The periodic axis is the same both ways round.
    assert torch.allclose(row[0, 1:], row[0, 1:].flip(0))


def test_a_gaussian_spectrum_gives_gaussian_correlations():
    axis = Axis("x", 64, "cartesian", periodic=True)
    setting = Setting(Domain((axis,), (implied_coordinates(axis),)), 1, torch.ones(64).double())
    for options, rtol in (({"spectrum": "gaussian"}, 2e-2), ({"steps": 200}, 5e-2)):
        B = build({"kind": "diffusion", "std": 1.0, "length": 6.0, **options}, setting)
        row = B(torch.zeros(1, 1, 64).double()).matrix()[0, 0, :13]
        # exp(l²D/2) spreads as exp(-d²/(2 l²)), and its grid version differs by (1/l)².
        expected = torch.exp(-(torch.arange(13).double() ** 2) / (2 * 6.0**2))
        assert torch.allclose(row, expected, rtol=rtol)


def test_masked_cells_have_no_error():
    active = ACTIVE.clone()
    active[:3] = 0
    setting = Setting(DOMAIN, CHANNELS, active)
    for options in ({"kind": "diagonal", "std": 1.0}, {"kind": "diffusion", "std": 1.0}):
        B = build(options, setting)(ENSEMBLE).matrix()[0]
        assert B[:3].abs().max() == 0
        assert torch.equal(B.diagonal()[3:] > 0, active[3:] > 0)


def test_what_a_setting_lacks_is_named():
    for kind in ("climatological", "diagonal", "nmc"):
        with pytest.raises(EmptySelection, match=f"'{kind}' needs training data"):
            build(kind, Setting())
    with pytest.raises(EmptySelection, match="needs cells with positions"):
        build("diffusion", Setting())
    with pytest.raises(EmptySelection, match="localisation needs cells"):
        build({"kind": "ensemble", "localization": TAPER}, Setting())
    with pytest.raises(EmptySelection, match="needs a forecast model"):
        build("nmc", Setting(climatology=Climatology(STATES, STATES)))
    with pytest.raises(ValidationError, match="short: 8 is not below long, 8"):
        ADAPTER.validate_python({"kind": "nmc", "short": 8})
