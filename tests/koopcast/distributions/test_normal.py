import math

import numpy as np
from scipy import stats

from koopcast.distributions.normal import NormalSpec

U = np.linspace(0.001, 0.999, 42).reshape(6, 7)


def test_quantiles_are_those_of_the_normal_law_in_the_shape_given() -> None:
    law = NormalSpec(mean=-1.5, std=0.2)
    assert law.quantile(U).shape == (6, 7)
    assert np.allclose(law.quantile(U), stats.norm(-1.5, 0.2).ppf(U), rtol=1e-13)
    assert law.bounds() == (-math.inf, math.inf)
