"""What the residuals of a spectrum certify."""

import numpy as np
import pytest
import xarray as xr
from pydantic import ValidationError

from koopcast.metrics import KoopmanCertificateSpec, Verification

TRUTH = xr.DataArray(np.zeros((1, 1, 2, 1)), dims=("sample", "time", "lead", "x"), coords={"lead": [1, 3]})


def _pair(trained: list[float], seen: list[float], widening: float) -> Verification:
    spectrum = xr.Dataset(
        {"residual": ("mode", trained), "data_residual": ("mode", seen)},
        attrs={"certificate": "words", "widening": widening},
    )
    return Verification(TRUTH, TRUTH, spectrum=spectrum)


def test_a_bound_is_the_larger_residual_and_what_a_modulus_adds() -> None:
    pair = _pair([0.01, 0.02, 0.3, 0.01], [0.02, 0.01, 0.1, np.nan], 0.0)
    score = KoopmanCertificateSpec().score(pair)
    # Bounds 0.02, 0.02, 0.3, and none for the pair of which the scored data say nothing.
    assert score.pooled == 2
    assert score.value.values.tolist() == [2, 2]
    assert score.curve is not None
    assert score.curve.dims == ("lead", "mode")
    assert score.curve.values[1].tolist() == [0.02, 0.02, 0.3, np.inf]
    assert score.curve["certificate"].item() == "words"
    assert float(score.components["least"][0]) == 0.02
    assert float(score.components["optimism"][0]) == pytest.approx(0.01)
    assert float(score.components["widening"][0]) == 0
    assert KoopmanCertificateSpec(tolerance=0.015).score(pair).pooled == 0


def test_a_widening_withdraws_certificates() -> None:
    score = KoopmanCertificateSpec().score(_pair([0.01, 0.02], [0.01, 0.04], 0.02))
    assert score.pooled == 1
    assert float(score.components["least"][0]) == pytest.approx(0.03)
    assert KoopmanCertificateSpec().score(_pair([0.0], [0.0], 0.06)).pooled == 0


def test_a_tolerance_of_one_certifies_anything_and_is_refused() -> None:
    with pytest.raises(ValidationError, match="tolerance"):
        KoopmanCertificateSpec(tolerance=1.0)
