"""Small datasets made at once, without a store."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from koopcast.fields import FieldData
from koopcast.generation.evolving import Run, describe
from koopcast.generation.provenance import conclusion
from koopcast.generation.recipe import Draws, Recipe
from koopcast.generation.sizes import Sizes
from koopcast.generation.trajectories import Trajectories


def in_memory(recipe: Recipe) -> FieldData:
    """Return the dataset that a recipe makes, block after block, in memory.

    Raises:
        ComputeError: A sample is refused.
    """
    template = recipe.template()
    arrays = {name: np.empty(array.shape, array.dtype) for name, array in template.items() if array.chunks}

    def write(
        sample: int, record: int | None, values: Mapping[str, Float[np.ndarray, "sample *rest"]]
    ) -> None:
        for name, array in values.items():
            target = arrays[name][sample : sample + len(array)]
            if record is None:
                target[:] = array
            else:
                target[:, record : record + array.shape[1]] = array

    made = [recipe.make(block, write, lambda done: None) for block in range(recipe.num_blocks)]
    fields = {name: template[name].copy(data=array) for name, array in arrays.items()}
    end = conclusion(recipe, made)
    return FieldData(template.assign(fields).assign(end).assign_attrs(end.attrs), recipe.info)


def evolve(run: Run, seed: int, dtype: str = "float32", block: int | None = None) -> FieldData:
    """Return trajectories of a system, in memory.

    Raises:
        ComputeError: A sample is refused.
    """
    sizes = Sizes.of(describe(run), dtype, block)
    draws = Draws(seed, run.samples)
    return in_memory(Trajectories(run=run, draws=draws, dtype=dtype, block=sizes.block, window=sizes.window))
