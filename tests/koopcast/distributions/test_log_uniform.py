import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

from koopcast.distributions.log_uniform import LogUniformSpec

U = np.linspace(0.001, 0.999, 41)


def test_quantiles_are_those_of_the_log_uniform_law() -> None:
    law = LogUniformSpec(low=1e-4, high=10.0)
    assert np.allclose(law.quantile(U), stats.loguniform(1e-4, 10).ppf(U), rtol=1e-12)
    assert law.bounds() == (1e-4, 10.0)


def test_values_stay_within_the_bounds_at_either_end() -> None:
    law = LogUniformSpec(low=0.1, high=0.7)
    ends = law.quantile(np.array([1e-300, 1 - 2.0**-53]))
    assert 0.1 <= ends[0] <= ends[1] <= 0.7


def test_bounds_must_be_positive_and_in_order() -> None:
    with pytest.raises(ValidationError, match="greater than 0"):
        LogUniformSpec(low=0.0, high=1.0)
    with pytest.raises(ValidationError, match="swap the two"):
        LogUniformSpec(low=2.0, high=1.0)
