import numpy as np
import pytest
from scipy import stats

from koopcast.distributions.beta import BetaSpec

U = np.linspace(0.001, 0.999, 41)


@pytest.mark.parametrize(("a", "b"), [(2.0, 5.0), (0.5, 0.5), (1.0, 1.0)])
def test_quantiles_are_those_of_the_stretched_beta_law(a: float, b: float) -> None:
    law = BetaSpec(a=a, b=b, low=-1.0, high=4.0)
    assert np.allclose(law.quantile(U), stats.beta(a, b, loc=-1, scale=5).ppf(U), rtol=1e-9, atol=1e-12)
    assert law.bounds() == (-1.0, 4.0)
