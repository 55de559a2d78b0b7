"""Data from systems: made in blocks of samples, each from random streams of its own, checked while made."""

from koopcast.generation.evolving import Run, SystemDynamics, describe
from koopcast.generation.memory import evolve, in_memory
from koopcast.generation.provenance import conclusion
from koopcast.generation.recipe import Draws, Made, Recipe
from koopcast.generation.sizes import Sizes
from koopcast.generation.snapshots import Drawings, Solutions, described
from koopcast.generation.thinning import faulty_thinning, kept
from koopcast.generation.trajectories import Trajectories
from koopcast.generation.verification import check_step

__all__ = [
    "Drawings",
    "Draws",
    "Made",
    "Recipe",
    "Run",
    "Sizes",
    "Solutions",
    "SystemDynamics",
    "Trajectories",
    "check_step",
    "conclusion",
    "describe",
    "described",
    "evolve",
    "faulty_thinning",
    "in_memory",
    "kept",
]
