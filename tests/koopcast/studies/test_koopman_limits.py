"""Studies of what Koopman learning can and cannot know, against formulas where there are some."""

import math

import pytest
from pydantic import ValidationError

from koopcast.studies.adversarial_pair import AdversarialPairSpec
from koopcast.studies.doubling_spectrum import DoublingSpectrumSpec
from koopcast.studies.rational_kernel import RationalKernelSpec
from koopcast.studies.residual_spectrum import ResidualSpectrumSpec


def test_the_doubling_map_has_one_eigenvalue_and_residuals_say_so() -> None:
    scores = DoublingSpectrumSpec(sizes=(4, 8), radii=2, angles=8).run(0).scores
    for n, chain in (("4", 3), ("8", 4)):
        assert scores["unit_residual"]["fourier"][n] < 1e-7
        assert scores["least_false_residual"]["fourier"][n] > 0.999
        assert scores["isometry_gap"]["fourier"][n] < 1e-12
        exact = 2 * math.sin(math.pi / (2 * (chain + 1)))
        assert scores["circle_tau"]["fourier"][n] == pytest.approx(exact, rel=1e-9)


def test_residuals_of_a_measure_preserving_system_follow_the_moduli() -> None:
    # The doubling of uniform starts keeps their measure: res² = 1 - |λ|² up to sampling.
    study = ResidualSpectrumSpec(
        system="circle_doubling", integrator="exact", samples=4000, steps=1, record_every=1,
        dictionaries={"bells": {"kind": "rbf", "centers": 8}},
    )  # fmt: skip
    findings = study.run(0)
    assert findings.scores["isometry_defect"]["bells"]["all"] < 0.15
    assert findings.scores["pairs"]["bells"]["all"] == 8
    table = findings.tables["pairs"]
    assert findings.scores["doubtful"]["bells"]["all"] == (table["residual"] > 0.3).sum() >= 6


def test_a_study_of_residuals_refuses_what_does_not_evolve() -> None:
    with pytest.raises(ValidationError, match="poisson does not evolve; take one that does"):
        ResidualSpectrumSpec(system="poisson")
    with pytest.raises(ValidationError, match="rk4 does not take circle_doubling; use exact"):
        ResidualSpectrumSpec(system="circle_doubling")
    with pytest.raises(ValidationError, match="'a' \\(linear\\) holds the coordinates alone"):
        ResidualSpectrumSpec(dictionaries={"a": "linear"})


def test_kernels_gain_by_their_order() -> None:
    scores = RationalKernelSpec(orders=(1, 3), functions=120, angles=16).run(0).scores
    assert 2**0.8 < scores["gain"]["order_1"]["all"] < 2
    assert 2**2.4 < scores["gain"]["order_3"]["all"] < 8
    assert scores["error"]["order_3"]["all"] < 0.01 * scores["error"]["order_1"]["all"]


def test_too_few_functions_for_a_narrow_kernel_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"50 are too few for epsilon 0\.1; take 100 or more"):
        RationalKernelSpec(functions=50)
    with pytest.raises(ValidationError, match="must descend"):
        RationalKernelSpec(epsilons=(0.1, 0.2))


def test_the_same_data_hide_two_spectra_and_a_modulus_withdraws_the_certificate() -> None:
    scores = AdversarialPairSpec(samples=150, functions=100).run(0).scores
    assert scores["difference"] == {"plain": {"all": 0.0}, "sheared": {"all": 0.0}}
    assert scores["true_tau"]["plain"]["all"] == pytest.approx(math.sqrt(2))
    # The band that ends where φ = π/2, at which e^{-it} turns by i, is off by at most its π/100.
    assert scores["true_tau"]["sheared"]["all"] < math.pi / 100
    assert scores["verified"]["plain"]["all"] == scores["verified"]["sheared"]["all"] > 0
    assert scores["verified"]["widened"]["all"] == 0
    assert scores["widening"]["widened"]["all"] > 2 * 0.05
