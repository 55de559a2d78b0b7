"""Error in units of the range, and numbers of a card as scores."""

import numpy as np
import pytest
import xarray as xr

from koopcast.errors import EmptySelection
from koopcast.metrics import NRMSESpec, Verification
from koopcast.metrics.effective_dim import EffectiveDimSpec
from koopcast.metrics.info_nce import InfoNCESpec
from koopcast.metrics.parameters import ParametersSpec


def pair(forecast: list[float], truth: list[float], **card: float) -> Verification:
    arrays = [
        xr.DataArray(np.array(values)[None, :, None, None], dims=("sample", "time", "lead", "x"), name="u")
        for values in (forecast, truth)
    ]
    arrays = [array.assign_coords(lead=[3]) for array in arrays]
    return Verification(*arrays, card=card)


def test_the_error_is_divided_by_the_range_of_the_truth() -> None:
    # Errors 1, 1, 2 over a range of 4: √(6/3) / 4.
    score = NRMSESpec().score(pair([1.0, 3.0, 6.0], [0.0, 2.0, 4.0]))
    assert score.pooled == pytest.approx(2**0.5 / 4)
    assert score.value.values.tolist() == pytest.approx([2**0.5 / 4])
    assert score.units == "1"


def test_a_truth_without_a_range_is_refused() -> None:
    with pytest.raises(EmptySelection, match="does not vary"):
        NRMSESpec().score(pair([1.0, 2.0], [3.0, 3.0]))


def test_a_card_is_a_score_at_every_lead() -> None:
    known = pair([1.0], [1.0], parameters=12.0, effective_dim=3.5, info_nce=0.25)
    for spec, value in ((ParametersSpec(), 12.0), (EffectiveDimSpec(), 3.5), (InfoNCESpec(), 0.25)):
        score = spec.score(known)
        assert score.pooled == value
        assert score.value.sel(lead=3) == value
