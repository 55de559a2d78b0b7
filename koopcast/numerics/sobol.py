"""Sobol nets."""

import numpy as np
from jaxtyping import Float

from koopcast.errors import InvalidInput


def sobol_net(
    exponent: int, dimension: int, generator: np.random.Generator | None = None
) -> Float[np.ndarray, "point dimension"]:
    """Return the first 2^exponent points of a Sobol sequence, scrambled where a generator is given.

    Raises:
        InvalidInput: More dimensions than the table of directions holds.
    """
    # SciPy's statistics take long to import, which pipelines without nets can do without.
    from scipy.stats import qmc

    if dimension > qmc.Sobol.MAXDIM:
        raise InvalidInput(
            f"{dimension} dimensions, at most {qmc.Sobol.MAXDIM} of a Sobol net are tabulated",
            "vary fewer, or choose latin_hypercube",
        )
    net = qmc.Sobol(dimension, scramble=generator is not None, rng=generator)
    return np.asarray(net.random_base2(exponent))
