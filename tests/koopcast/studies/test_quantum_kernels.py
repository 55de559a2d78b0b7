"""Data of a circuit's own, and a torus on which the spectrum is known."""

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from koopcast.errors import Underresolved
from koopcast.rng import torch_generator
from koopcast.studies.feature_space_classification import FeatureSpaceClassificationSpec
from koopcast.studies.torus_kernels import TorusKernelsSpec


def test_the_circuits_own_kernel_separates_what_gaussians_do_not() -> None:
    study = FeatureSpaceClassificationSpec(repetitions=3, variational={"steps": 2, "restarts": 1})
    scores = study.run(0).scores
    accuracy = {name: value["all"] for name, value in scores["accuracy"].items()}
    assert accuracy["quantum"] >= 0.95
    assert accuracy["quantum"] >= accuracy["gaussian"] + 0.1
    assert accuracy["ridge"] >= 0.95
    assert scores["least_eigenvalue"]["quantum"]["all"] >= -1e-10
    # Circuits have no Gram matrix.
    assert set(study.subjects()) - set(scores["least_eigenvalue"]) == {"variational", "variational_counted"}
    assert scores == study.run(0).scores


def test_a_trained_circuit_finds_the_labels_with_and_without_counts() -> None:
    study = FeatureSpaceClassificationSpec(repetitions=2, variational={"steps": 60, "restarts": 2})
    assert study.variational.training(None).gradient == "exact"
    assert study.variational.training(100).gradient == "parameter_shift"
    accuracy = {name: value["all"] for name, value in study.run(0).scores["accuracy"].items()}
    assert accuracy["variational"] >= 0.95
    assert accuracy["variational_counted"] >= 0.9


def test_labels_are_signs_of_the_parity_after_a_unitary() -> None:
    study = FeatureSpaceClassificationSpec(train=30, test=1, gap=0.5)
    data = study._drawn(torch_generator(0, "labels"))
    # f is <Φ|M|Φ> of one Hermitian M with M² = 1: linear in |Φ><Φ|, so that a linear fit finds it exactly.
    states = study.kernel.states(data.train).numpy()
    density = np.einsum("pi,pj->pij", states, states.conj()).reshape(len(states), -1)
    features = np.hstack([density.real, density.imag])
    assert np.linalg.matrix_rank(features) <= 16
    assert data.train_labels.tolist() == [1.0] * 30 + [-1.0] * 30
    assert float(data.train.min()) >= 0
    assert float(data.train.max()) <= 2 * math.pi


def test_a_gap_that_leaves_no_points_and_a_scaled_kernel_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("koopcast.studies.feature_space_classification.ATTEMPTS", 2)
    with pytest.raises(Underresolved, match=r"a gap of 0\.9999 leaves too few points; lower `gap`"):
        FeatureSpaceClassificationSpec(gap=0.9999).run(0)
    with pytest.raises(ValidationError, match="give no shots"):
        FeatureSpaceClassificationSpec(kernel={"kind": "quantum_zz"})


def test_a_gaussian_kernel_finds_the_spectrum_of_the_torus() -> None:
    study = TorusKernelsSpec(samples=150, kernels={"wide": {"kind": "gaussian", "width": 3.0}})
    findings = study.run(0)
    scores = {metric: findings.scores[metric]["wide"]["all"] for metric in study.metrics()}
    assert scores["eigenvalue_error"] < 1e-3
    assert scores["residual"] < 1e-2
    assert scores["least_eigenvalue"] > -1e-10
    pairs = findings.tables["pairs"]
    angles = np.sort(np.angle(pairs["re"] + 1j * pairs["im"]))
    exact = [-math.sqrt(3), -math.sqrt(2), 0, math.sqrt(2), math.sqrt(3)]
    assert np.allclose(angles, exact, atol=1e-3)


def test_points_of_the_torus_turn_by_the_angles() -> None:
    X, Y = TorusKernelsSpec(samples=10)._drawn(torch.Generator().manual_seed(0))
    for pair, angle in ((slice(0, 2), math.sqrt(2)), (slice(2, 4), math.sqrt(3))):
        z, w = (torch.view_as_complex(u[:, pair].contiguous()) for u in (X, Y))
        assert torch.allclose(w / z, torch.full_like(z, complex(math.cos(angle), math.sin(angle))))
