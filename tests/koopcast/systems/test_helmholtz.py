import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from koopcast.errors import Underresolved
from koopcast.systems.helmholtz import HelmholtzSpec

PLAIN = {"index": "constant", "coefficient": "constant"}


def draw(system):
    return system.draw(torch.Generator().manual_seed(0), {})


@pytest.mark.parametrize("wavenumber", [1.0, 5.0, 8.0, 12.0])
def test_helmholtz_has_as_many_negative_eigenvalues_as_the_laplacian_has_modes_below_k_squared(wavenumber):
    n = 18
    system = HelmholtzSpec.model_validate({"points": n + 2, **PLAIN})
    matrix = system.problem(draw(system), {"wavenumber": wavenumber}).matrix.toarray()
    along = (2 * (n + 1) * np.sin(math.pi * np.arange(1, n + 1) / (2 * (n + 1)))) ** 2
    expected = (along[:, None] + along < wavenumber**2).sum()
    assert (np.linalg.eigvalsh(matrix) < 0).sum() == expected
    # Of the exact modes π²(i² + j²) the counts below 1, 25, 64 and 144 are 0, 1, 3 and 8.
    assert expected == {1.0: 0, 5.0: 1, 8.0: 3, 12.0: 8}[wavenumber]


def test_a_standing_wave_comes_back_from_its_own_source():
    # u = sin πx sin 2πy is a discrete mode too: (λ - k²) u = f.
    system = HelmholtzSpec.model_validate({"points": 33, **PLAIN, "wavenumber": 9})
    x = np.linspace(0, 1, 33)[1:-1]
    u = np.outer(np.sin(2 * math.pi * x), np.sin(math.pi * x)).ravel()
    lowest = 4 * 32**2 * (math.sin(math.pi / 64) ** 2 + math.sin(math.pi / 32) ** 2)
    assert np.allclose(system.problem(draw(system), {}).matrix @ u, (lowest - 81) * u, atol=1e-10)


def test_index_and_coefficient_enter_where_the_equation_has_them():
    system = HelmholtzSpec.model_validate({"points": 33, "coefficient": {"kind": "constant", "value": 2}})
    given = draw(system)
    plain = HelmholtzSpec.model_validate({"points": 33, **PLAIN})
    shared = plain.problem(draw(plain), {"wavenumber": 1e-9}).matrix
    expected = 2 * shared.toarray() - np.diag(100 * given["index"][1:-1, 1:-1].ravel() ** 2)
    assert np.allclose(system.problem(given, {}).matrix.toarray(), expected, atol=1e-9)


def test_waves_with_too_few_nodes_are_refused():
    with pytest.raises(ValidationError, match="raise points"):
        HelmholtzSpec(points=16, wavenumber=20.0)
    system = HelmholtzSpec(points=16)
    with pytest.raises(Underresolved, match="nodes"):
        system.problem(draw(system), {"wavenumber": 20.0})
