import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError
from scipy import stats

from koopcast.distributions import AnyDistribution
from koopcast.distributions.uniform import UniformSpec

U = np.linspace(0.001, 0.999, 41)
ADAPTER: TypeAdapter[UniformSpec] = TypeAdapter(AnyDistribution)


def test_quantiles_are_those_of_the_uniform_law() -> None:
    law = UniformSpec(low=-2.0, high=3.0)
    assert np.allclose(law.quantile(U), stats.uniform(-2, 5).ppf(U), rtol=1e-14)
    assert law.bounds() == (-2.0, 3.0)


def test_a_bare_pair_is_the_uniform_law_and_the_json_schema_offers_it() -> None:
    assert ADAPTER.validate_python([0.1, 1]) == UniformSpec(low=0.1, high=1.0)
    offered = ADAPTER.json_schema()["anyOf"]
    pair = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
    assert pair in offered


@pytest.mark.parametrize("pair", [[1.0, 0.5], [1.0, 1.0], [1.0], [0, 1, 2], ["0", 1.0], [True, 2]])
def test_a_pair_that_bounds_nothing_is_refused(pair: list[object]) -> None:
    with pytest.raises(ValidationError, match=r"swap the two|expected a (pair|number)"):
        ADAPTER.validate_python(pair)
