"""Make samples of a system, block by block."""

from typing import Any

import torch

from koopcast.generation import Drawings, Draws, Made, Recipe, Solutions, Trajectories, conclusion
from koopcast.stores.files import CONTRACT, FIELDS, info_to_json, write_json
from koopcast.stores.regions import Regions
from koopcast.systems.base import DrawnSpec, EvolvingSpec, StationarySpec, SystemSpec
from schemas.stages import GenerateStep
from tasks.blocks import make_missing
from tasks.workspace import Workspace, integration

SCRATCH = "blocks"


def generate(step: GenerateStep, workspace: Workspace) -> None:
    """Lay the dataset out, make the blocks that an earlier attempt has not made, and name the parts."""
    recipe = recipe_of(step, workspace.job.seed, workspace.device)
    regions = Regions.lay_out(workspace.slot.scratch / SCRATCH, recipe.template(), recipe.block)
    try:
        make_missing(recipe, regions, workspace.job.threads)
    finally:
        torch.set_num_threads(workspace.job.threads)
    made = [Made(**facts) for facts in regions.facts()]
    regions.finish(workspace.path / FIELDS, conclusion(recipe, made))
    contract = step.outline({}).fields
    write_json(workspace.path / CONTRACT, info_to_json(contract))


def recipe_of(step: GenerateStep, seed: int, device: torch.device) -> Recipe:
    """Return how a `generate` step makes its samples."""
    sizes = step.sizes()
    system: SystemSpec = step.system
    common: dict[str, Any] = {
        "draws": Draws(seed, step.samples, step.parameters, step.design),
        "block": sizes.block,
        "dtype": step.dtype,
        "max_failed_fraction": step.max_failed_fraction,
        "every_point": step.every_point,
    }
    if isinstance(system, EvolvingSpec):
        reason = "as written" if step.integrator is not None else f"what suits '{system.kind}'"
        return Trajectories(
            run=integration(step), window=sizes.window, device=str(device), reason=reason, **common
        )
    if isinstance(system, StationarySpec):
        solver = step.chosen_solver()
        return Solutions(system=system, solver=solver, residual_tol=step.tolerance(), **common)
    assert isinstance(system, DrawnSpec)
    return Drawings(system=system, **common)
