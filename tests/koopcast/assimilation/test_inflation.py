import pytest
import torch
from pydantic import TypeAdapter

from koopcast.assimilation import AnyAnalysis, AnyInflation
from koopcast.assimilation.base import Climatology, Observed, Setting
from koopcast.errors import EmptySelection
from koopcast.numerics.ensembles import haar, mean_and_contrasts, split

ADAPTER = TypeAdapter(AnyInflation)


def relaxed(options, anomalies, background):
    return ADAPTER.validate_python(options).relax(anomalies, background, torch.Generator().manual_seed(0))


# Three members of two components: σ_b = (2, 3), σ_a = (1, 1) by hand: anomalies (-1, 0, 1) have the variance
# 1.
ANOMALIES = torch.tensor([[[-1.0, 1.0], [0.0, 0.0], [1.0, -1.0]]]).double()
BACKGROUND = torch.tensor([[[-2.0, 3.0], [0.0, 0.0], [2.0, -3.0]]]).double() + 5


def test_rtps_multiplies_by_hand_values():
    # 1 + α (σ_b - σ_a)/σ_a with α = 1/2: 1 + (2-1)/2 = 1.5 and 1 + (3-1)/2 = 2.
    after = relaxed({"kind": "rtps", "factor": 0.5}, ANOMALIES, BACKGROUND)
    assert torch.allclose(after, ANOMALIES * torch.tensor([1.5, 2.0]))


def test_rtps_leaves_components_without_spread():
    still = ANOMALIES.clone()
    still[..., 1] = 0
    assert torch.equal(relaxed("rtps", still, BACKGROUND)[..., 1], still[..., 1])


def test_rtpp_mixes_by_hand_values():
    # (1 - 1/4) (-1) + 1/4 (-2) = -1.25; 3/4 + 3/4 = 1.5.
    after = relaxed({"kind": "rtpp", "factor": 0.25}, ANOMALIES, BACKGROUND)
    assert torch.allclose(after[0, 0], torch.tensor([-1.25, 1.5]).double())


def test_multiplicative_inflation_multiplies_anomalies_not_variances():
    after = relaxed({"kind": "multiplicative", "factor": 1.1}, ANOMALIES, BACKGROUND)
    assert torch.allclose(after, 1.1 * ANOMALIES)


def test_additive_inflation_adds_its_variance_and_keeps_the_mean():
    anomalies = split(torch.randn(1, 4000, 3, generator=torch.Generator().manual_seed(1)).double())[1]
    anomalies[..., 2] = 0
    after = relaxed({"kind": "additive", "std": 2.0}, anomalies, anomalies)
    assert after.mean(1).abs().max() < 1e-12
    # The standard error of a variance v from n numbers is v √(2/n).
    assert after.var(1)[0, :2].tolist() == pytest.approx([5.0, 5.0], rel=6 * (2 / 4000) ** 0.5)
    assert not after[..., 2].any()


def test_archive_inflation_has_the_covariance_of_the_climatology():
    generator = torch.Generator().manual_seed(1)
    mix = torch.tensor([[2.0, 0.0], [1.0, 0.5]]).double()
    archive = torch.randn(500, 2, generator=generator).double() @ mix.T
    spec = ADAPTER.validate_python({"kind": "archive", "factor": 0.5})
    assert spec.needs_climatology()
    anomalies = torch.zeros(1, 20_000, 2).double()
    relax = spec.build(Setting(climatology=Climatology(archive, archive)))
    after = relax(anomalies, anomalies, generator)
    expected = torch.cov(archive.T, correction=0) / 4
    variance = expected.diagonal()
    # A difference of two drawn records over the root of 2 is no Gaussian, but near one: standard errors.
    error = ((variance[:, None] * variance + expected**2) / 20_000).sqrt()
    assert after.mean(1).abs().max() < 1e-12
    assert ((torch.cov(after[0].T) - expected).abs() < 6 * error).all()
    with pytest.raises(EmptySelection, match="climatology"):
        spec.build(Setting())


@pytest.mark.parametrize(
    "neutral",
    [
        {"kind": "multiplicative", "factor": 1.0},
        {"kind": "multiplicative", "factor": 1.0, "when": "prior"},
        {"kind": "rtps", "factor": 0},
        {"kind": "rtpp", "factor": 0},
        {"kind": "additive", "std": 0},
        {"kind": "archive", "factor": 0},
    ],
)
@pytest.mark.parametrize("rotation", [False, True])
@pytest.mark.parametrize("kind", ["denkf", "enkf", "enkf_n", "ensrf", "etkf", "letkf"])
def test_a_neutral_inflation_is_bit_identical_to_none(neutral, rotation, kind):
    options = {
        "kind": kind,
        "members": 5,
        "rotation": rotation,
        **({"localization": "none"} if kind == "letkf" else {}),
    }
    ensemble = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(2)).double()
    seen = Observed.of(torch.zeros(2, 4).double(), torch.ones(2, 4).double(), ensemble)
    results = []
    for inflation in ("none", neutral):
        spec = TypeAdapter(AnyAnalysis).validate_python({**options, "inflation": inflation})
        results.append(spec.build(Setting())(ensemble, seen, torch.Generator().manual_seed(3)).ensemble)
    assert all(torch.equal(result, results[0]) for result in results)


def test_prior_inflation_widens_the_background_before_the_analysis():
    # One cell, R = 1, background variance 1, f² = 4: posterior variance 4/5 against 1/2.
    ensemble = ANOMALIES[..., :1]
    seen = Observed.of(torch.zeros(1, 1).double(), torch.ones(1, 1).double(), ensemble)
    variances = []
    for when in ("prior", "posterior"):
        spec = TypeAdapter(AnyAnalysis).validate_python(
            {"kind": "etkf", "members": 3, "inflation": {"kind": "multiplicative", "factor": 2, "when": when}}
        )
        after = spec.build(Setting())(ensemble, seen, torch.Generator()).ensemble
        variances.append(float(after.var(1)))
    assert variances == pytest.approx([4 / 5, 4 / 2])


def test_contrasts_are_an_orthonormal_basis_of_what_the_mean_leaves():
    for members in (2, 3, 24):
        basis = mean_and_contrasts(members, torch.device("cpu"))
        assert torch.allclose(basis[0], torch.full((members,), 1 / members).double())
        V = basis[1:]
        assert torch.allclose(V @ V.T, torch.eye(members - 1).double(), atol=1e-14)
        assert V.sum(1).abs().max() < 1e-13


def test_haar_matrices_are_orthogonal_and_uniform():
    Q = haar(torch.randn(20_000, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    assert torch.allclose(Q @ Q.mT, torch.eye(3).double().expand_as(Q), atol=1e-13)
    # Under the uniform law E q = 0, E q² = 1/3 with variance E q⁴ - 1/9 = 1/5 - 1/9, and det = ±1 equally
    # often.
    count = Q.shape[0]
    assert Q.mean(0).abs().max() < 6 * (1 / 3 / count) ** 0.5
    assert (Q.square().mean(0) - 1 / 3).abs().max() < 6 * ((1 / 5 - 1 / 9) / count) ** 0.5
    assert abs(float(torch.linalg.det(Q).mean())) < 6 / count**0.5
