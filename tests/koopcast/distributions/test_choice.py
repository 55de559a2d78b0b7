import numpy as np

from koopcast.distributions.choice import ChoiceSpec


def test_each_value_takes_an_equal_share_of_the_unit_interval() -> None:
    law = ChoiceSpec(values=(4.0, 1.0, 2.0, 2.0))
    u = (np.arange(400) + 0.5) / 400
    values, counts = np.unique(law.quantile(u), return_counts=True)
    assert values.tolist() == [1.0, 2.0, 4.0]
    assert counts.tolist() == [100, 200, 100]
    assert (np.diff(law.quantile(u)) >= 0).all()
    assert law.bounds() == (1.0, 4.0)


def test_the_upper_end_is_the_last_value() -> None:
    assert ChoiceSpec(values=(1.0, 2.0, 3.0)).quantile(np.array([1.0 - 2.0**-53])).tolist() == [3.0]
